"""The public functions: a file in, a file out, and a report."""

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
from refilm.jobs.device import device_of
from refilm.jobs.job import Job, Progress
from refilm.jobs.report import Report
from refilm.jobs.video_file import encoded_sink
from refilm.models import MODELS, create_model, default_model
from refilm.options import Encoding, Running
from refilm.stages.table import TaskStages, Work
from refilm.tasks import TASKS, Task, of_verb

Function = Callable[..., Report]

_COMMON = """
Sound, subtitles, chapters, attachments and metadata are carried over. Killed and called again with the same arguments,
it goes on where it stopped. Raises VideoError for the input, JobError for the output, WeightsError; UsageError, a
ValueError, for bad arguments.

path_in, path_out   a video file, or numbered pictures such as frames/%06d.png
"""
_CALLBACKS = {
    "leave_finished": (False, "Where the output is there already, made by this very job, leave it."),
    "on_progress": (None, "Is called with the state of the job, a `Progress`, again and again."),
    "warn": (None, "Is called with what the user should know."),
}
_MODEL = {
    "model": (None, "A name of refilm.list_models(). Default: the one with the best measured figure."),
    "weights": ("default", "Those that ship; or the path of a weight file; or None for a random start."),
}


def _documented(function: Function, summary: str, own: type, further: dict[str, tuple[Any, str]]) -> Function:
    """Give a function that takes keywords the signature and the documentation of the dataclasses they belong to."""
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
    """The function that does one task."""

    def function(path_in: str | Path, path_out: str | Path, *own: Any, **keywords: Any) -> Report:
        keywords |= dict(zip((field.name for field in fields(task.options)), own, strict=False))
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
    """A task of a job with its model, the default one for None. UsageError where they do not go together."""
    name = model if model is not None else default_model(task.name)
    if task_of(name) != task.name:
        others = ", ".join(sorted(other for other in MODELS if task_of(other) == task.name)) or "none"
        raise UsageError(f"{name} is a model for {task_of(name)}, not for {task.name}; for that there are: {others}")
    return Work(task, name, weights if weights is None else str(weights), own)


def task_of(model: str) -> str:
    """The task of a model, by its name. UsageError that names the nearest for one that is not there."""
    if model not in MODELS:
        try:
            create_model(model)
        except ValueError as error:  # says which there are
            raise UsageError(str(error)) from None
    return MODELS[model].task


def _run(
    function: str, path_in: str | Path, path_out: str | Path, works: Sequence[Work], keywords: dict[str, Any]
) -> Report:
    """The job of all `works` in one pass."""
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
        work.stage(start_time=Fraction(0), device=running.device, tile=None)  # raises before any file is touched
    if running.tile is not None and all(work.model.reach is None for work in works):
        names = " and ".join(work.model_name for work in works)
        raise UsageError(f"{names} needs the whole picture at once; leave out tile")
    settings = {work.task.verb: work.settings for work in works} | {"device": device.type, "tile": running.tile}
    job = Job(
        source=Path(path_in),
        sink=encoded_sink(Path(path_out), encoding),
        make_stage=TaskStages(tuple(works), running.device),
        settings=settings,
        weights=tuple(work.weights_file for work in works if work.weights_file is not None),
        running=running,
        leave_finished=leave_finished,
    )
    return job.run(on_progress, warn)
