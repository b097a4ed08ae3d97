"""The commands that make videos: one for each task that makes pictures, and `enhance` for several tasks in one pass."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from json import load as read_json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

from refilm import options
from refilm.errors import DONE, FAILED, INTERRUPTED, UsageError
from refilm.tasks import TASKS, Task

Paths = Annotated[Path, Parameter(name="IN OUT")]
_OWN = Parameter(name="*")
_ENCODING = Annotated[
    options.Encoding, Parameter(name="*", group=Group("Encoding of the output, in FFmpeg's terms", sort_key=2))
]
_RUNNING = Annotated[options.Running, Parameter(name="*", group=Group("Running", sort_key=3))]
_MANY = Annotated[options.Many, Parameter(name="*", group=Group("Many inputs", sort_key=4))]

_PARAMETERS = """

Parameters
----------
paths
    The input: a video file, or a picture sequence such as frames/%06d.png. The output: a file whose ending names the
    container (.mkv holds nearly everything), or a picture sequence. With --output-dir: any number of inputs.
model
    A name from `refilm models`. Default: the best measured one, unless a faster one is nearly as good.
weights
    "default" for those that ship, or a weight file, such as one that `refilm train` has made.
json
    Print events and the report as JSON lines on standard output, for programs.
"""


def add_commands(app: App) -> None:
    """Add all commands. Whether a task has a default model is checked only when its command is called."""
    for task in TASKS.values():
        if task.makes == "pictures":  # commands for events and bitstreams take other options
            app.command(_command_of(task), name=task.verb)
    app.command(enhance)
    app.command(one_of_many, show=False)


def _command_of(task: Task) -> Callable[..., int]:
    """The command of one task, with the flags of its options."""

    def command(
        *paths: Path,
        own: Any,
        model: str | None = None,
        weights: str = "default",
        encoding: options.Encoding = options.Encoding(),
        running: options.Running = options.Running(),
        many: options.Many = options.Many(),
        json: bool = False,
    ) -> int:
        wanted = asdict(own) | {"model": model, "weights": weights} | asdict(encoding) | asdict(running)
        return _start(task.verb, paths, wanted, many, json)

    command.__doc__ = task.summary + _PARAMETERS
    command.__annotations__ = {
        "paths": Paths,
        "own": Annotated[task.options, _OWN],
        "model": str | None,
        "weights": str,
        "encoding": _ENCODING,
        "running": _RUNNING,
        "many": _MANY,
        "json": bool,
    }
    command.__kwdefaults__ = (command.__kwdefaults__ or {}) | {"own": task.options()}
    return command


def enhance(
    *paths: Paths,
    own: Annotated[options.Enhance | None, _OWN] = None,
    encoding: _ENCODING = options.Encoding(),
    running: _RUNNING = options.Running(),
    many: _MANY = options.Many(),
    json: bool = False,
) -> int:
    """Several tasks in one pass, so that the video is decoded and encoded once: denoise, deblock, upscale, interpolate.

    refilm enhance old.mkv new.mkv --denoise --upscale 4 --fps 60

    Parameters
    ----------
    paths
        As for `refilm interpolate`.
    json
        Print events and the report as JSON lines on standard output, for programs.
    """
    own = options.Enhance() if own is None else own  # raises UsageError: nothing is asked for
    return _start("enhance", paths, asdict(own) | asdict(encoding) | asdict(running), many, json)


def one_of_many(*, json: bool = False) -> int:
    """Run the job that standard input describes: the child process of a command with many inputs."""
    job = read_json(sys.stdin)
    return _run_job(job["verb"], Path(job["source"]), Path(job["output"]), job["options"], json)


def _start(verb: str, paths: tuple[Path, ...], wanted: dict[str, Any], many: options.Many, as_json: bool) -> int:
    """Run one job or many, by the function `verb` of `refilm.api`. -> exit code"""
    if many.output_dir is not None:
        return _run_many(verb, paths, many.output_dir, many, wanted, as_json)
    if len(paths) != 2:
        raise UsageError(
            f"wanted IN OUT, or IN ... --output-dir FOLDER; got {len(paths)} path{'s' * (len(paths) != 1)}"
        )
    return _run_job(verb, *paths, wanted, as_json)


def _run_job(verb: str, source: Path, output: Path, wanted: dict[str, Any], as_json: bool) -> int:
    from refilm import api  # imported here, because torch takes a second to load, and --help does not need it
    from refilm.cli.console import JobConsole

    console = JobConsole(as_json)
    with console:
        report = getattr(api, verb)(source, output, on_progress=console.progress, warn=console.warn, **wanted)
    console.report(report)
    return DONE


def _run_many(
    verb: str, paths: tuple[Path, ...], folder: Path, many: options.Many, wanted: dict[str, Any], as_json: bool
) -> int:
    from refilm.cli.batch_console import BatchConsole
    from refilm.jobs.batch import plan, run_many

    pairs = plan(paths, folder, many.suffix)
    folder.mkdir(parents=True, exist_ok=True)
    with BatchConsole(as_json) as console:
        outcomes = run_many(verb, pairs, wanted | {"leave_finished": True}, many.jobs, console)
        console.summary(outcomes)
    states = {outcome.state for outcome in outcomes}
    return INTERRUPTED if "stopped" in states else FAILED if "failed" in states else DONE
