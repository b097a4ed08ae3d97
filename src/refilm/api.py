"""The public functions, which process a video file into another and return a report."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from refilm import options
from refilm.errors import UsageError
from refilm.jobs.bitstream_file import BitstreamFile
from refilm.jobs.device import device_of
from refilm.jobs.event_file import EventFile
from refilm.jobs.job import Job, Progress
from refilm.jobs.report import Report
from refilm.jobs.sink import Sink
from refilm.jobs.video_file import encoded_sink
from refilm.models import MODELS, create_model, default_model
from refilm.options import Encoding, Running
from refilm.stages.table import TaskStages, Work
from refilm.tasks import TASKS, Task, of_verb

Function = Callable[..., Report]

_COMMON = """
Sound, subtitles, chapters, attachments and metadata are carried over. If the job is stopped, the same call continues
it. Raises VideoError if the input cannot be read, JobError if the output cannot be written, WeightsError if weights are
missing or damaged, and UsageError, a ValueError, for wrong arguments.

path_in, path_out   a video file, or numbered pictures such as frames/%06d.png
"""
_CALLBACKS = {
    "leave_finished": (False, "Whether to return the report of an output that this very job has already made."),
    "on_progress": (None, "Called repeatedly with the progress of the job, a `Progress`."),
    "warn": (None, "Called with each warning, a text."),
}
_MODEL = {
    "model": (None, "A name of refilm.list_models(). Default: the best one, unless a faster one is nearly as good."),
    "weights": ("default", "The file that ships; or the path of a weight file; or None for random initialisation."),
}


def _documented(function: Function, summary: str, own: type, further: dict[str, tuple[Any, str]]) -> Function:
    """Give a function of **keywords the signature and documentation of the dataclasses that define its keywords."""
    keywords = {
        field.name: (field.default, options.documentation(kind)[field.name])
        for kind in (own, Encoding, Running)
        for field in fields(kind)
    }
    keywords |= further | _CALLBACKS
    paths = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("path_in", "path_out")]
    first = {field.name for field in fields(own)}
    named = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if name in first else inspect.Parameter.KEYWORD_ONLY,
            default=default,
        )
        for name, (default, _) in keywords.items()
    ]
    function.__signature__ = inspect.Signature([*paths, *named], return_annotation=Report)  # type: ignore[attr-defined]
    width = max(map(len, keywords)) + 2
    lines = [f"{name:<{width}}{text}" for name, (_, text) in keywords.items()]
    function.__doc__ = summary + "\n" + _COMMON + "\n".join(lines)
    return function


def _of_task(task: Task) -> Function:
    """Make the public function of one task."""

    def function(path_in: str | Path, path_out: str | Path, *own: Any, **keywords: Any) -> Report:
        names = [field.name for field in fields(task.options)][: len(own)]
        if len(names) < len(own) or keywords.keys() & names:
            inspect.signature(function).bind(path_in, path_out, *own, **keywords)  # says what is wrong
        keywords |= dict(zip(names, own, strict=True))
        model, weights = keywords.pop("model", None), keywords.pop("weights", "default")
        work = work_of(task, options.taken(task.options, keywords), model, weights)
        return _run(task.verb, path_in, path_out, [work], keywords)

    function.__name__ = function.__qualname__ = task.verb
    return _documented(function, task.summary.partition("\n")[0], task.options, _MODEL)


denoise = _of_task(TASKS["denoising"])
deblock = _of_task(TASKS["deblocking"])
upscale = _of_task(TASKS["super-resolution"])
interpolate = _of_task(TASKS["interpolation"])


def enhance(path_in: str | Path, path_out: str | Path, **keywords: Any) -> Report:
    wanted = options.taken(options.Enhance, keywords)
    chosen = {task_of(name): name for name in wanted.models}
    works = []
    for verb, own in wanted.wanted().items():
        task = of_verb(verb)
        works.append(work_of(task, own, chosen.pop(task.name, None)))
    for task_name, name in chosen.items():
        raise UsageError(f"{name} is a model for {task_name}, which is not asked for")
    return _run("enhance", path_in, path_out, works, keywords)


enhance = _documented(
    enhance, "Several tasks in one pass over a video, decoded and encoded once, in a fixed order.", options.Enhance, {}
)


def work_of(task: Task, own: Any, model: str | None = None, weights: str | Path | None = "default") -> Work:
    """One task of a job with its model.

    own     the task's options
    model   name of the model; None: the default one

    Raises UsageError if the model is unknown or for another task, or if there is no default one.
    """
    name = model if model is not None else default_model(task.name)
    if task_of(name) != task.name:
        others = ", ".join(sorted(other for other in MODELS if task_of(other) == task.name)) or "none"
        raise UsageError(f"{name} is a model for {task_of(name)}, not for {task.name}; for that there are: {others}")
    return Work(task, name, weights if weights is None else str(weights), own)


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
    on_progress: Callable[[Progress], None] = keywords.pop("on_progress", None) or (lambda progress: None)
    warn: Callable[[str], None] = keywords.pop("warn", None) or (lambda message: None)
    leave_finished = keywords.pop("leave_finished", False)
    own = options.Enhance if function == "enhance" else works[0].task.options
    options.check_all_known(keywords, (own, Encoding, Running), function)
    device = device_of(running.device)
    if running.threads is not None:
        torch.set_num_threads(running.threads)
    for work in works:
        work.stage(start_time=Fraction(0), device=running.device, tile=None)  # UsageError before any file is touched
    if running.tile is not None and all(work.model.reach is None for work in works):
        names = " and ".join(work.model_name for work in works)
        raise UsageError(f"{names} needs the whole picture at once; leave out tile")
    settings = {work.task.verb: work.settings for work in works} | {"device": device.type, "tile": running.tile}
    job = Job(
        source=Path(path_in),
        sink=_sink(Path(path_out), works[-1], encoding),
        make_stage=TaskStages(tuple(works), running.device),
        settings=settings,
        weights=tuple(work.weights_file for work in works if work.weights_file is not None),
        running=running,
        leave_finished=leave_finished,
    )
    return job.run(on_progress, warn)


def _sink(path: Path, work: Work, encoding: Encoding) -> Sink:
    """The sink for what the last task of a job makes."""
    if work.task.makes == "events":
        return EventFile(path)
    if work.task.makes == "bitstream":
        return BitstreamFile(path, work.model_name, work.weights_file)
    return encoded_sink(path, encoding)
