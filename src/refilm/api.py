"""The public functions, which process a video file into another and return a report, or look at one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

from refilm import options
from refilm.errors import UsageError, VideoError
from refilm.jobs.analysis import Analysis, look_at
from refilm.jobs.bitstream_file import BitstreamFile
from refilm.jobs.device import check_device
from refilm.jobs.event_file import EventFile
from refilm.jobs.job import Job
from refilm.jobs.piped import STANDARD_INPUT, STANDARD_OUTPUT, JobToPipe, Y4mOutput, refuse_parts, run_from_pipe
from refilm.jobs.preview import run_preview
from refilm.jobs.report import Report
from refilm.jobs.sink import Sink
from refilm.jobs.source import frames as frames
from refilm.jobs.trial import stage_seconds
from refilm.jobs.video_file import encoded_sink
from refilm.models import MODELS, create_model, default_model
from refilm.models.table import named
from refilm.options import Encoding, Running
from refilm.stages.table import TaskStages, Work
from refilm.tasks import TASKS, Task, of_verb
from refilm.video import probe
from refilm.video.coded import is_coded

Function = Callable[..., Report]
Callbacks = list[Callable[..., None]]

_CARRIED = """
Sound, subtitles, chapters, attachments and metadata are carried over. If the job is stopped, the same call continues
it. Raises VideoError if the input cannot be read, JobError if the output cannot be written, WeightsError if weights are
missing or damaged, and UsageError, a ValueError, for wrong arguments.

"""
_COMMON = f"""{_CARRIED}\
path_in, path_out   a video file, or numbered pictures such as frames/%06d.png; "-" is standard input, and standard
                    output, which gets uncompressed video (y4m); a job with a pipe is not continued after a stop
"""
CALLBACKS = {
    "leave_finished": (False, "Whether to return the report of an output that this very job has already made."),
    "on_progress": (None, "Called repeatedly with the progress of the job, a `Progress`."),
    "on_start": (None, "Called when the work begins, with what is known of the job, a `Start`."),
    "on_step": (None, "Called with what takes a while before and after the work, a text such as 'reading film.mp4'."),
    "warn": (None, "Called with each warning, a text."),
}
MODEL = {
    "model": (
        None,
        "A name of refilm.list_models(), or a weight file. Default: the best one that is worth waiting for.",
    ),
    "weights": (
        "default",
        "The file that ships; or a weight file, by path or shipped name; or None for a random start.",
    ),
}


def keywords_of(*kinds: type) -> dict[str, tuple[Any, str]]:
    """The default and the documentation of each field of some dataclasses, by its name."""
    return {
        field.name: (field.default, options.documentation(kind)[field.name]) for kind in kinds for field in fields(kind)
    }


def describe(
    function: Callable[..., Any],
    text: str,
    positional: Sequence[str],
    keywords: dict[str, tuple[Any, str]],
    own: type,
    returns: Any,
) -> None:
    """Give a function of **keywords a signature, and `text` and the documentation of its keywords as its own.

    positional   names of its first parameters
    keywords     see `keywords_of`; those that are fields of `own` may also be given by position
    """
    either, named_only = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    first = {field.name for field in fields(own)}
    parameters = [inspect.Parameter(name, either) for name in positional]
    parameters += [
        inspect.Parameter(name, either if name in first else named_only, default=default)
        for name, (default, _) in keywords.items()
    ]
    function.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
    width = max(map(len, keywords)) + 2
    function.__doc__ = text + "\n" + "\n".join(f"{name:<{width}}{told}" for name, (_, told) in keywords.items())


def by_name(
    function: Callable[..., Any], positional: Sequence[Any], own: type, given: Sequence[Any], keywords: dict[str, Any]
) -> None:
    """Add the options that were given by position to `keywords`. Raises TypeError as Python does for too many.

    positional   the first arguments, which are no options
    """
    names = [field.name for field in fields(own)][: len(given)]
    if len(names) < len(given) or keywords.keys() & names:
        inspect.signature(function).bind(*positional, *given, **keywords)  # says what is wrong
    keywords |= dict(zip(names, given, strict=True))


def _documented(
    function: Callable[..., Any],
    summary: str,
    own: type,
    further: dict[str, tuple[Any, str]],
    returns: Any = Report,
) -> None:
    keywords = keywords_of(own, Encoding, Running) | further | CALLBACKS
    describe(function, summary + "\n" + _COMMON, ("path_in", "path_out"), keywords, own, returns)


def _of_task(task: Task) -> Function:
    """Make the public function of one task."""

    def function(path_in: str | Path, path_out: str | Path, *own: Any, **keywords: Any) -> Report:
        by_name(function, (path_in, path_out), task.options, own, keywords)
        model, weights = keywords.pop("model", None), keywords.pop("weights", "default")
        work = work_of(task, options.taken(task.options, keywords), model, weights, path_in)
        return _run(task.verb, path_in, path_out, [work], keywords)

    function.__name__ = function.__qualname__ = task.verb
    _documented(function, task.summary.partition("\n")[0], task.options, MODEL)
    return function


denoise = _of_task(TASKS["denoising"])
deblock = _of_task(TASKS["deblocking"])
deblur = _of_task(TASKS["deblurring"])
upscale = _of_task(TASKS["super-resolution"])
interpolate = _of_task(TASKS["interpolation"])


@overload
def enhance(path_in: str | Path, path_out: str | Path, *, auto: Literal[True], **keywords: Any) -> Report | None: ...


@overload
def enhance(path_in: str | Path, path_out: str | Path, *, auto: Literal[False] = False, **keywords: Any) -> Report: ...


def enhance(path_in: str | Path, path_out: str | Path, **keywords: Any) -> Report | None:
    wanted = options.taken(options.Enhance, keywords)
    on_analysis = keywords.pop("on_analysis", None) or (lambda analysis: None)
    if wanted.auto:
        rest = dict(keywords)
        _, running = options.taken(Encoding, rest), options.taken(Running, rest)
        options.check_all_known(rest.keys() - CALLBACKS.keys(), (options.Enhance, Encoding, Running), "enhance")
        found = analyse(
            path_in,
            models=wanted.models,
            weights=wanted.weights,
            device=running.device,
            input_fps=running.input_fps,
            force=running.force,
            on_step=keywords.get("on_step"),
        )
        on_analysis(found)
        if found.first is not None:
            raise VideoError(found.first)
        if not found.wanted:
            return None
        wanted = replace(wanted, auto=False, **found.wanted)
    return _run("enhance", path_in, path_out, _works_of(wanted, path_in), keywords)


_documented(
    enhance,
    "Several tasks in one pass over a video, decoded and encoded once, in a fixed order.\n\n"
    "With auto, what `refilm.analyse` proposes; if the film asks for nothing, None is returned and nothing written.",
    options.Enhance,
    {"on_analysis": (None, "With auto: called with what the film shows, an `Analysis`, before the work.")},
    Report | None,
)


def _works_of(wanted: options.Enhance, source: str | Path) -> list[Work]:
    """The tasks that are wanted, with their models for a source."""
    chosen = _models_by_task(wanted.models, wanted.weights)
    works = []
    for verb, own in wanted.wanted().items():
        task = of_verb(verb)
        model, weights = chosen.pop(task.name, (None, "default"))
        works.append(work_of(task, own, model, weights, source))
    for task_name, (name, _) in chosen.items():
        raise UsageError(f"{name} is a model for {task_name}, which is not asked for")
    return works


_COMPRESSION = TASKS["compression"]
SEGMENT = 48  # about so many frames are encoded as one segment, which begins with a key picture


def encode(path_in: str | Path, path_out: str | Path, *own: Any, **keywords: Any) -> Report:
    by_name(encode, (path_in, path_out), options.Encode, own, keywords)
    model, weights = keywords.pop("model", None), keywords.pop("weights", "default")
    wanted, running = options.taken(options.Encode, keywords), options.taken(Running, keywords)
    leave_finished, callbacks = keywords.pop("leave_finished", False), callbacks_of(keywords)
    options.check_all_known(keywords, (options.Encode, Running), "encode")
    source, output = Path(path_in), Path(path_out)
    if running.preview is not None or output == STANDARD_OUTPUT:
        raise UsageError("encode writes a whole file; leave out --preview, and name a file that ends in .rfv")
    refuse_parts(source, output, running)
    device = check_device(running.device)
    work = work_of(_COMPRESSION, wanted, model, weights)
    if work.weights_file is None and MODELS[work.model_name].learned:
        raise UsageError("nobody could decode what a codec with random weights makes; give it weights")
    job = Job(
        source=source,
        sink=BitstreamFile(output, work.model_name, work.weights_file, wanted.drop_streams),
        make_stage=TaskStages((work,), running.device, running.precision),
        settings={"encode": work.settings, "device": device},
        weights=() if work.weights_file is None else (work.weights_file,),
        running=running,
        leave_finished=leave_finished,
        segment_frames=wanted.gop * max(1, round(SEGMENT / wanted.gop)),
    )
    return run_from_pipe(job, *callbacks) if source == STANDARD_INPUT else job.run(*callbacks)


def decode(path_in: str | Path, path_out: str | Path, **keywords: Any) -> Report:
    encoding, running = options.taken(Encoding, keywords), options.taken(Running, keywords)
    leave_finished, callbacks = keywords.pop("leave_finished", False), callbacks_of(keywords)
    options.check_all_known(keywords, (Encoding, Running), "decode")
    source, output = Path(path_in), Path(path_out)
    if source.is_file() and not is_coded(source):
        raise UsageError(f"{source}: was not made by refilm encode; any other video needs no decoding by refilm")
    refuse_parts(source, output, running)
    to_pipe = output == STANDARD_OUTPUT
    sink: Any = Y4mOutput(encoding) if to_pipe else encoded_sink(output, encoding)
    job = (JobToPipe if to_pipe else Job)(
        source=source,
        sink=sink,
        make_stage=TaskStages((), check_device(running.device)),
        settings={"decode": {}},
        running=replace(running, scene_cuts=False),
        leave_finished=leave_finished,
    )
    run = partial(run_preview, job) if running.preview is not None else job.run
    return run(*callbacks)


def callbacks_of(keywords: dict[str, Any]) -> Callbacks:
    """The callbacks of `Job.run`, in its order, which are removed from `keywords`."""
    return [keywords.pop(name, None) or (lambda _: None) for name in ("on_progress", "warn", "on_start", "on_step")]


describe(
    encode,
    _COMPRESSION.summary.partition("\n")[0]
    + _CARRIED
    + "path_in    a video file, numbered pictures such as frames/%06d.png, or - for standard input\n"
    "path_out   a file that ends in .rfv, for `decode`, and for all else that reads videos here\n",
    ("path_in", "path_out"),
    keywords_of(options.Encode, Running) | MODEL | CALLBACKS,
    options.Encode,
    Report,
)
describe(
    decode,
    "Turn a file that `encode` has made into one that any player shows."
    + _CARRIED
    + "path_in    a file that `encode` has made\n"
    "path_out   a video file, or numbered pictures; - for standard output\n",
    ("path_in", "path_out"),
    keywords_of(Encoding, Running) | CALLBACKS,
    Encoding,
    Report,
)


def morph(
    pictures: Sequence[str | Path],
    path_out: str | Path,
    *,
    model: str | None = None,
    weights: str | Path | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    on_step: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
    **keywords: Any,
) -> Report:
    """Make a film, or numbered pictures, of the way from one picture to another, or through several.

    pictures    paths of pictures of one size
    path_out    a video file, or numbered pictures such as frames/%06d.png
    model       by motion: an interpolation model. Default: the best one that is worth waiting for
    weights     by space: a weight file of a space, such as `refilm morph --learn-from` and `refilm train` make.
                Default: of those that ship, the one that knows the pictures
    device      where the model runs
    overwrite   whether to replace an existing output
    on_step     called with what takes a while, a text
    warn        called with each warning, a text
    keywords    frames, fps and by, see `refilm.options.Morph`; and the fields of `refilm.options.Encoding`

    By space, the way runs where the pictures lie that a space has learned, and covers equal lengths of it from frame
    to frame. Raises VideoError for pictures that cannot be read or have different sizes, RefilmError if the space does
    not know the pictures, JobError if the output cannot be written, UsageError for wrong arguments, WeightsError as
    `create_model`.
    """
    wanted, encoding = options.taken(options.Morph, keywords), options.taken(Encoding, keywords)
    options.check_all_known(keywords, (options.Morph, Encoding), "morph")
    if wanted.by == "motion" and weights is not None:
        raise UsageError("weights are of a space; by motion, model names an interpolation model, or its weight file")
    if wanted.by == "space" and model is not None:
        raise UsageError("model is for --by motion; a space is named by its weights")
    check_device(device)
    from refilm.jobs import morphing  # loads torch
    from refilm.models.spaces import find_space

    paths = [Path(picture) for picture in pictures]
    stills = morphing.read_pictures(paths)
    way: Callable[[], Any]
    if wanted.by == "motion":
        work = work_of(TASKS["interpolation"], options.Interpolate(), model)
        name, file = work.model_name, work.weights_file
        way = partial(morphing.along_motion, work.model, device, stills, wanted.frames)
    else:
        known = find_space(stills, weights)
        name, file = known.name, known.weights
        way = partial(morphing.along_space, known.space, stills, wanted.frames)
    return morphing.write_way(
        way,
        paths,
        Path(path_out),
        options.frame_rate(wanted.fps),
        encoding,
        Running(overwrite=overwrite),
        {"model": name, "weights": file, **wanted.settings()},
        () if file is None else (file,),
        on_step=on_step or (lambda step: None),
        warn=warn or (lambda message: None),
    )


def check_way(pictures: Sequence[str | Path], path_out: str | Path, overwrite: bool = False, **encoding: Any) -> None:
    """Raise what `morph` would for its pictures and its output, before a space is learned for them."""
    from refilm.jobs import morphing

    paths = [Path(picture) for picture in pictures]
    morphing.check_output(Path(path_out), paths, Encoding(**encoding), overwrite)
    morphing.read_pictures(paths)


def analyse(
    path: str | Path,
    *,
    models: Sequence[str] = (),
    weights: Sequence[str] = (),
    device: str = "cpu",
    input_fps: str | float | Fraction | None = None,
    force: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> Analysis:
    """Look at samples of a film, and propose what to do. Writes nothing, and takes some seconds.

    path             a video file or numbered pictures
    models, weights  as for `refilm.enhance`: how long the proposal takes depends on them, and on `device`
    input_fps        frame rate of a source without times
    force            whether to take an interlaced film as it is
    on_step          called with what takes a while, a text such as "reading film.mp4"

    Raises VideoError if the film cannot be read, UsageError for standard input, which can be read only once.
    """
    source = Path(path)
    if source == STANDARD_INPUT:
        raise UsageError(
            "standard input can be read only once; save it as a file to have it looked at, or say what to do"
        )
    check_device(device)
    step = on_step or (lambda step: None)
    info, found = look_at(source, None if input_fps is None else options.frame_rate(input_fps), force, step)
    if not found.wanted or found.frames is None:
        return found
    wanted = options.Enhance(models=tuple(models), weights=tuple(weights), **found.wanted)
    stages = TaskStages(tuple(_works_of(wanted, source)), device)
    step("measuring speed")
    return replace(found, seconds=round(found.frames * stage_seconds(stages, info), 1))


def _models_by_task(models: Sequence[str], files: Sequence[str]) -> dict[str, tuple[str, str | Path | None]]:
    """The model and the weights for each task of several, from names of models and weight files."""
    chosen: dict[str, tuple[str, str | Path | None]] = {}
    for model in models:
        name, weights = named(model)
        assert name is not None
        chosen[task_of(name)] = name, weights
    for file in files:
        name, _ = named(None, file)
        assert name is not None
        task = task_of(name)
        chosen[task] = chosen.get(task, (name,))[0], file
    return chosen


def work_of(
    task: Task,
    own: Any,
    model: str | None = None,
    weights: str | Path | None = "default",
    source: str | Path | None = None,
) -> Work:
    """One task of a job with its model.

    own     the task's options
    model   name of the model, or a weight file; None: the model of `weights`, if that is a file, else the default one
    source  what the job reads, on which the default may depend; None: not known

    Raises UsageError if the model is unknown or for another task, if there is no default one, or if no weights ship for
    a model that is to enlarge; WeightsError if a weight file cannot be read.
    """
    name, weights = named(model, weights)
    name = _default(task, source) if name is None else name
    if task_of(name) != task.name:
        others = ", ".join(sorted(other for other in MODELS if task_of(other) == task.name)) or "none"
        raise UsageError(f"{name} is a model for {task_of(name)}, not for {task.name}; for that there are: {others}")
    return Work(task, name, weights if weights is None else str(weights), own, tuple(map(_enlarging, own.enlarged_by)))


def _default(task: Task, source: str | Path | None) -> str:
    # what comes through a pipe has no loss there, but is a film that was compressed before
    if not task.of_lossless or source is None or Path(source) == STANDARD_INPUT:
        return default_model(task.name)
    return default_model(task.name, lossless=probe(source).is_lossless)


def _enlarging(model: str) -> Work:
    """What enlarges the frames that a recogniser sees. Raises UsageError if no weights ship for it."""
    work = work_of(TASKS["super-resolution"], options.Upscale(), model)
    if work.weights == "default" and MODELS[work.model_name].learned and work.weights_file is None:
        name = default_model(work.task.name)
        raise UsageError(f"no weights ship for {model}; name another model, or a weight file: --through {name}")
    return work


def asked_of(
    task: Task, path: str | Path, keywords: dict[str, Any], function: str, part: str
) -> tuple[Work, Running, Callbacks]:
    """The work, how it runs, and the callbacks of `Job.run`, from the keywords of a function that looks at a film.

    function   its name
    part       what it does with a part of a film, for errors, such as "recognize a part"
    """
    model, weights = keywords.pop("model", None), keywords.pop("weights", "default")
    running, callbacks = options.taken(Running, keywords), callbacks_of(keywords)
    own = options.taken(task.options, keywords)
    options.check_all_known(keywords, (task.options, Running), function)
    if running.preview is not None:
        raise UsageError(f"--preview makes a short film; to {part}, give --from and --to")
    refuse_parts(Path(path), Path(), running)
    check_device(running.device)
    return work_of(task, own, model, weights), running, callbacks


def refuse_output(running: Running) -> None:
    """Raises UsageError for what is about a file that is written, where none is."""
    if running.restart or running.overwrite:
        raise UsageError("restart and overwrite are about a file that is written, and none is; leave them out")


def job_of(path: str | Path, work: Work, running: Running, stages: type[TaskStages] = TaskStages) -> dict[str, Any]:
    """What jobs that look at a film have in common, as fields of Job."""
    return {
        "source": Path(path),
        "make_stage": stages((work,), running.device, running.precision),
        "settings": {work.task.verb: work.settings} | _ways(running),
        "weights": work.weights_files,
        "running": running,
    }


def _ways(running: Running) -> dict[str, Any]:
    """How a job runs, as far as its result depends on it, for its identity. Raises UsageError for an unknown device."""
    return {"device": check_device(running.device), "tile": running.tile, "precision": running.precision}


def task_of(model: str) -> str:
    """The name of a model's task. Raises UsageError, with the nearest name, if there is no such model."""
    if model not in MODELS:
        try:
            create_model(model)
        except ValueError as error:  # its message names the nearest model
            raise UsageError(str(error)) from None
    return MODELS[model].task


def _run(
    function: str, path_in: str | Path, path_out: str | Path, works: Sequence[Work], keywords: dict[str, Any]
) -> Report:
    """Run a job that does all `works` in one pass. `function` is the name of the public function."""
    encoding, running = options.taken(Encoding, keywords), options.taken(Running, keywords)
    leave_finished, callbacks = keywords.pop("leave_finished", False), callbacks_of(keywords)
    own = options.Enhance if function == "enhance" else works[0].task.options
    options.check_all_known(keywords, (own, Encoding, Running), function)
    settings = {work.task.verb: work.settings for work in works} | _ways(running)
    source, output = Path(path_in), Path(path_out)
    to_pipe = output == STANDARD_OUTPUT
    refuse_parts(source, output, running)
    sink: Any = Y4mOutput(encoding) if to_pipe else _sink(output, works[-1], encoding)
    job = (JobToPipe if to_pipe else Job)(
        source=source,
        sink=sink,
        make_stage=TaskStages(tuple(works), running.device, running.precision),
        settings=settings,
        weights=tuple(work.weights_file for work in works if work.weights_file is not None),
        running=running,
        leave_finished=leave_finished,
    )
    run = job.run
    if source == STANDARD_INPUT and not to_pipe:
        run = partial(run_from_pipe, job)
    elif running.preview is not None:
        run = partial(run_preview, job)
    return run(*callbacks)


def _sink(path: Path, work: Work, encoding: Encoding) -> Sink:
    """The sink for what the last task of a job makes."""
    if work.task.makes == "events":
        return EventFile(path)
    return encoded_sink(path, encoding)
