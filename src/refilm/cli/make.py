"""The commands that make videos: one for each task that makes pictures, and `enhance` for several tasks in one pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from json import load as read_json
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import App, Group, Parameter

import refilm
from refilm import options
from refilm.errors import DONE, FAILED, INTERRUPTED, UsageError
from refilm.jobs.device import check_device
from refilm.tasks import TASKS, Task

Paths = Annotated[Path, Parameter(name="IN OUT")]
_OWN = Parameter(name="*")
_ENCODING = Annotated[
    options.Encoding, Parameter(name="*", group=Group("Encoding of the output, in FFmpeg's terms", sort_key=2))
]
RUNNING = Annotated[options.Running, Parameter(name="*", group=Group("Running", sort_key=3))]
MANY = Annotated[options.Many, Parameter(name="*", group=Group("Many inputs", sort_key=4))]

_PARAMETERS = """

Parameters
----------
paths
    The input: a video file, or a picture sequence such as frames/%06d.png. The output: a file whose ending names the
    container (.mkv holds nearly everything), or a picture sequence. With --output-dir: any number of inputs.
    For -: standard input, and standard output, which gets uncompressed video (y4m).
model
    A name from `refilm models`, or a weight file, which says its model. Default: the best measured one, unless a
    faster one is nearly as good.
weights
    "default" for those that ship, or a weight file: the path of one, such as `refilm train` makes, or the name of one
    that ships. Without a model, that of the file is used.
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
        "running": RUNNING,
        "many": MANY,
        "json": bool,
    }
    command.__kwdefaults__ = (command.__kwdefaults__ or {}) | {"own": task.options()}
    return command


def enhance(
    *paths: Paths,
    own: Annotated[options.Enhance | None, _OWN] = None,
    encoding: _ENCODING = options.Encoding(),
    running: RUNNING = options.Running(),
    many: MANY = options.Many(),
    json: bool = False,
) -> int:
    """Several tasks in one pass, so that the video is decoded and encoded once: denoise, deblock, upscale, interpolate.

    refilm enhance old.mkv new.mkv --denoise --upscale 4 --fps 60

    If no task is named, refilm looks at the film, says what it asks for, and writes nothing. With --auto it does that.

    Parameters
    ----------
    paths
        As for `refilm interpolate`.
    json
        Print events and the report as JSON lines on standard output, for programs.
    """
    if own is None:
        return _propose(paths, _changed(encoding) | _changed(running), running, many, json)
    return _start("enhance", paths, asdict(own) | asdict(encoding) | asdict(running), many, json)


def _propose(
    paths: tuple[Path, ...], further: dict[str, Any], running: options.Running, many: options.Many, as_json: bool
) -> int:
    """Show what a film asks for, and the command that does it, with the `further` flags. -> exit code"""
    if many.output_dir is not None:
        raise UsageError("with --output-dir, say what to do, such as --denoise; or --auto, for each film what it needs")
    from refilm.cli.console import JobConsole

    source, output = in_and_out(paths)
    console = JobConsole(as_json)
    with console:
        from refilm import api

        own = {name: getattr(running, name) for name in ("device", "input_fps", "force")}
        found = api.analyse(source, on_step=console.step, **own)
    command = found.command(output, further) if found.wanted else None
    if as_json:
        console.analysis(found, command)
    else:
        from refilm.cli.look import show_analysis

        show_analysis(found, command)
    return DONE


def _changed(chosen: options.Encoding | options.Running) -> dict[str, Any]:
    """The options that differ from the defaults, by the names of their flags."""
    changed: dict[str, Any] = {}
    for name, kind in get_type_hints(type(chosen), include_extras=True).items():
        value = getattr(chosen, name)
        if value != getattr(type(chosen), name):  # the default
            flag = next(
                (each for each in getattr(kind, "__metadata__", ()) if isinstance(each, Parameter)), Parameter()
            )
            named = flag.negative if value is False else flag.name
            changed[next(iter(named or (name,))).removeprefix("--")] = True if value is False else value
    return changed


def one_of_many(*, json: bool = False) -> int:
    """Run the job that standard input describes: the child process of a command with many inputs."""
    job = read_json(sys.stdin)
    return run_job(job["verb"], Path(job["source"]), Path(job["output"]), job["options"], json)


def _start(verb: str, paths: tuple[Path, ...], wanted: dict[str, Any], many: options.Many, as_json: bool) -> int:
    """Run one job or many, by the function `verb` of `refilm.api`. -> exit code"""
    check_device(wanted["device"])  # once, and not in each of many jobs
    if many.output_dir is not None:
        if Path("-") in paths:
            raise UsageError("- is standard input, which goes with one output, not with --output-dir")
        return run_many_jobs(verb, paths, many, wanted, as_json)
    return run_job(verb, *in_and_out(paths), wanted, as_json)


def in_and_out(paths: tuple[Path, ...]) -> tuple[Path, Path]:
    if len(paths) != 2:
        raise UsageError(
            f"wanted IN OUT, or IN ... --output-dir FOLDER; got {len(paths)} path{'s' * (len(paths) != 1)}"
        )
    return paths[0], paths[1]


def run_job(verb: str, source: Path, output: Path, wanted: dict[str, Any], as_json: bool) -> int:
    """Run the public function `verb` on one input and one output. -> exit code"""
    from refilm.cli.console import JobConsole
    from refilm.jobs.piped import STANDARD_OUTPUT, check_terminals

    check_terminals(source, output)
    if as_json and output == STANDARD_OUTPUT:
        raise UsageError("--json prints on standard output, which the video takes; name a file, or leave out --json")
    console = JobConsole(as_json)
    with console:
        shown = console.callbacks
        if verb == "enhance":
            shown["on_analysis"] = lambda found: console.analysis(
                found, found.command(output) if found.wanted else None
            )
        # loaded here, because torch takes seconds to load, and --help does not need it
        report = getattr(refilm, verb)(source, output, **shown, **wanted)
    console.report(report)
    return DONE


def run_many_jobs(
    verb: str,
    paths: tuple[Path, ...],
    many: options.Many,
    wanted: dict[str, Any],
    as_json: bool,
    endings: Sequence[str] | None = None,
) -> int:
    """Run a job for each input. `endings`: those that outputs may have, if not those of videos. -> exit code"""
    from refilm.cli.batch_console import BatchConsole
    from refilm.jobs.batch import plan, run_many
    from refilm.video.purposes import check_ending, purpose_of

    folder, purpose = many.output_dir, wanted.get("purpose")
    assert folder is not None
    pairs = plan(paths, folder, many.suffix or next(iter(purpose_of(purpose).endings), None), endings)
    for _, output in pairs if endings is None else ():
        check_ending(output, purpose)
    folder.mkdir(parents=True, exist_ok=True)
    with BatchConsole(as_json) as console:
        outcomes = run_many(verb, pairs, wanted | {"leave_finished": True}, many.jobs, console)
        console.summary(outcomes)
    states = {outcome.state for outcome in outcomes}
    return INTERRUPTED if "stopped" in states else FAILED if "failed" in states else DONE
