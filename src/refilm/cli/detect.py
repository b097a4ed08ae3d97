"""The command that finds objects in films: on standard output, into files, or drawn into a copy of the film."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

from refilm import options
from refilm.cli.make import MANY, RUNNING, run_job
from refilm.cli.telling import print_all, write_many
from refilm.errors import UsageError
from refilm.jobs.device import check_device

if TYPE_CHECKING:
    from refilm.cli.console import JobConsole

_WRITING = Group("Writing a file instead, one of these", sort_key=1)
_DRAWN = Annotated[options.Encoding, Parameter(name="*", group=Group("Encoding of --draw, in FFmpeg's terms"))]


def add_commands(app: App) -> None:
    app.command(detect)


def detect(
    *paths: Annotated[Path, Parameter(name="FILE")],
    own: Annotated[options.Detect | None, Parameter(name="*")] = None,
    model: str | None = None,
    weights: str = "default",
    draw: Annotated[Path | None, Parameter(group=_WRITING)] = None,
    csv: Annotated[Path | None, Parameter(group=_WRITING)] = None,
    mot: Annotated[Path | None, Parameter(group=_WRITING)] = None,
    jsonl: Annotated[Path | None, Parameter(group=_WRITING)] = None,
    encoding: _DRAWN = options.Encoding(),
    running: RUNNING = options.Running(),
    many: MANY = options.Many(),
    json: bool = False,
) -> int:
    """Find persons, vehicles and animals in films, and follow them.

    refilm detect holiday.mp4

    refilm detect holiday.mp4 --draw boxes.mp4

    refilm detect day/ --output-dir boxes/ --suffix .csv

    What is printed is not kept. A file appears when it is complete; the same command continues a stopped job.

    Parameters
    ----------
    paths
        Video files, folders of videos, patterns such as 'day*.mp4', or - for standard input.
    model
        A name from `refilm models`, or a weight file, which says its model. Default: the best measured one, unless a
        faster one is nearly as good.
    weights
        "default" for those that ship, or a weight file. Without a model, that of the file is used.
    draw
        A copy of the film with the boxes drawn into it, and with its sound and everything else. The boxes themselves
        are written beside it, as --jsonl does.
    csv
        A table: a row for each object of each frame.
    mot
        Text as MOTChallenge has it, which counts frames from 1.
    jsonl
        A line of JSON for each frame, as --json prints.
    json
        Print a line of JSON for each frame on standard output, for programs; with a file, the events of the job.
    """
    check_device(running.device)
    if not paths:
        raise UsageError("wanted at least one FILE: a video, a folder of videos, or a pattern")
    outputs = {"draw": draw, "csv": csv, "mot": mot, "jsonl": jsonl}
    named = {form: path for form, path in outputs.items() if path is not None}
    wanted = asdict(own or options.Detect()) | {"model": model, "weights": weights} | asdict(running)
    if len(named) > 1 or (named and many.output_dir is not None):
        raise UsageError("one file is written at a time: give one of --draw, --csv, --mot, --jsonl and --output-dir")
    if draw is None and many.output_dir is None and encoding != options.Encoding():
        raise UsageError("the options of an encoding are about a film that boxes are drawn into; add --draw")
    if many.output_dir is not None:
        from refilm.jobs.detections import ENDINGS
        from refilm.video.joining import WRITABLE

        return write_many("detections", paths, many, wanted | asdict(encoding), json, {*ENDINGS, *WRITABLE})
    if not named:
        return print_all(paths, json, lambda film, console: _print_one(film, wanted, console, json))
    ((form, path),) = named.items()
    if len(paths) != 1 or paths[0].is_dir():
        ending = {"draw": ".mkv", "mot": ".txt"}.get(form, f".{form}")
        raise UsageError(f"one file has one input; for more, give --output-dir FOLDER --suffix {ending}")
    wanted |= asdict(encoding) if form == "draw" else {"form": form}
    return run_job("detections", paths[0], path, wanted, json)


def _print_one(film: Path, wanted: dict[str, Any], console: JobConsole, as_json: bool) -> None:
    with console:
        from refilm import detection  # imported here, because torch takes seconds to load

        report = detection.tell_detections(film, console.detections, **console.callbacks, **wanted)
    if as_json:
        console.report(report)
