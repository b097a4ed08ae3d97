"""The command that says what happens in films: on standard output, or into a file of one of several kinds."""

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
    from refilm.jobs.timeline import TimelineSettings
    from refilm.stages.timeline import Stretch

_WRITING = Group("Writing a file instead, one of these", sort_key=1)


def add_commands(app: App) -> None:
    app.command(recognize)


def recognize(
    *paths: Annotated[Path, Parameter(name="FILE")],
    own: Annotated[options.Recognize | None, Parameter(name="*")] = None,
    model: str | None = None,
    weights: str = "default",
    csv: Annotated[Path | None, Parameter(group=_WRITING)] = None,
    srt: Annotated[Path | None, Parameter(group=_WRITING)] = None,
    chapters: Annotated[Path | None, Parameter(group=_WRITING)] = None,
    timeline: Annotated[Path | None, Parameter(group=_WRITING)] = None,
    drop_streams: Annotated[bool, Parameter(group=_WRITING)] = False,
    running: RUNNING = options.Running(),
    many: MANY = options.Many(),
    json: bool = False,
) -> int:
    """Say what happens in films, and when.

    refilm recognize holiday.mp4

    refilm recognize day/ 'tour*.mov' --every 10s

    refilm recognize film.mkv --shots --chapters film-with-chapters.mkv

    refilm recognize day/ --output-dir labels/ --suffix .csv

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
    csv
        A table: a row for each label of each event, with start and end in seconds.
    srt
        Subtitles for a player; neighbours with the same likeliest label are one.
    chapters
        A copy of the film, with its packets as they are, and with chapters named by the likeliest labels.
    timeline
        A picture (PNG) with a frame of each event, its time, and its labels.
    drop_streams
        With --chapters: leave out sound, subtitles and attachments that the container cannot hold.
    json
        Print events as JSON lines on standard output, for programs.
    """
    check_device(running.device)
    if not paths:
        raise UsageError("wanted at least one FILE: a video, a folder of videos, or a pattern")
    outputs = {"csv": csv, "srt": srt, "chapters": chapters, "png": timeline}
    named = {form: path for form, path in outputs.items() if path is not None}
    wanted = asdict(own or options.Recognize()) | {"model": model, "weights": weights} | asdict(running)
    writing = wanted | {"drop_streams": drop_streams}
    if len(named) > 1 or (named and many.output_dir is not None):
        raise UsageError(
            "one file is written at a time: give one of --csv, --srt, --chapters, --timeline and --output-dir"
        )
    if drop_streams and chapters is None and many.output_dir is None:
        raise UsageError("--drop-streams is about what a copy with --chapters holds; leave it out")
    if many.output_dir is not None:
        from refilm.jobs.timeline import ENDINGS

        return write_many("timeline", paths, many, writing, json, ENDINGS)
    if named:
        (form,) = named
        if len(paths) != 1 or paths[0].is_dir():
            raise UsageError(f"one file has one input; for more, give --output-dir FOLDER --suffix {_suffix_of(form)}")
        return run_job("timeline", paths[0], named[form], writing | {"form": form}, json)
    return print_all(paths, json, lambda film, console: _print_one(film, wanted, console, json))


def _suffix_of(form: str) -> str:
    return ".mkv" if form == "chapters" else f".{form}"


def _print_one(film: Path, wanted: dict[str, Any], console: JobConsole, as_json: bool) -> None:
    def tell(whole: Stretch, settings: TimelineSettings) -> None:
        console.event(settings.event(whole))

    with console:
        from refilm import (
            recognition,  # imported here, because torch takes seconds to load, and --help does not need it
        )

        report = recognition.told(film, tell, alike=not as_json, **console.callbacks, **wanted)
    if as_json:
        console.report(report)
