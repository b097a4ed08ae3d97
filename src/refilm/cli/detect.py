"""The command that finds objects in films: on standard output, into files, or drawn into a copy of the film."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

from refilm import options
from refilm.cli.events import print_error
from refilm.cli.make import MANY, RUNNING, run_many_jobs
from refilm.errors import DONE, FAILED, RefilmError, UsageError, WeightsError
from refilm.jobs.device import check_device

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
        return _write_many(paths, many, wanted | asdict(encoding), json)
    if not named:
        return _print(paths, wanted, json)
    ((form, path),) = named.items()
    if len(paths) != 1 or paths[0].is_dir():
        ending = {"draw": ".mkv", "mot": ".txt"}.get(form, f".{form}")
        raise UsageError(f"one file has one input; for more, give --output-dir FOLDER --suffix {ending}")
    return _write(paths[0], path, wanted | (asdict(encoding) if form == "draw" else {"form": form}), json)


def _write(source: Path, output: Path, wanted: dict[str, Any], as_json: bool) -> int:
    from refilm.cli.console import JobConsole
    from refilm.jobs.piped import check_terminals

    check_terminals(source, Path())
    console = JobConsole(as_json)
    with console:
        from refilm import detection  # imported here, because torch takes seconds to load

        report = detection.detections(source, output, **_shown(console), **wanted)
    console.report(report)
    return DONE


def _write_many(paths: tuple[Path, ...], many: options.Many, wanted: dict[str, Any], as_json: bool) -> int:
    from refilm.jobs.detections import ENDINGS
    from refilm.video.joining import WRITABLE

    if Path("-") in paths:
        raise UsageError("- is standard input, which goes with one output, not with --output-dir")
    endings = sorted({*ENDINGS, *WRITABLE})
    if many.suffix is None or many.suffix.lower() not in endings:
        given = "" if many.suffix is None else f", got {many.suffix!r}"
        raise UsageError(f"with --output-dir, --suffix says what to write: one of {', '.join(endings)}{given}")
    return run_many_jobs("detections", paths, many, wanted, as_json, endings)


def _print(paths: tuple[Path, ...], wanted: dict[str, Any], as_json: bool) -> int:
    """Print the objects of each film. An error about one film does not stop the others. -> exit code"""
    from refilm.cli.console import JobConsole
    from refilm.jobs.batch import videos
    from refilm.jobs.piped import check_terminals

    films = list(dict.fromkeys(film for path in paths for film in videos(path)))
    for film in films:
        check_terminals(film, Path())
    if len(films) == 1:
        _print_one(films[0], wanted, JobConsole(as_json), as_json)
        return DONE
    failed = 0
    for film in films:
        if not as_json:
            print(film, flush=True)
        try:
            _print_one(film, wanted, JobConsole(as_json, film), as_json)
        except (UsageError, WeightsError):  # they hold for all of them
            raise
        except RefilmError as error:
            failed += 1
            print_error(str(error), FAILED, as_json, film)
    return FAILED if failed else DONE


def _print_one(film: Path, wanted: dict[str, Any], console: Any, as_json: bool) -> None:
    with console:
        from refilm import detection  # imported here, as above

        report = detection.tell_detections(film, console.detections, **_shown(console), **wanted)
    if as_json:
        console.report(report)


def _shown(console: Any) -> dict[str, Any]:
    shown = {"on_progress": console.progress, "warn": console.warn}
    return shown | {"on_start": console.start, "on_step": console.step}
