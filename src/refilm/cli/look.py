"""The commands that show something: about files, models and this installation."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from refilm.errors import DONE, UsageError

if TYPE_CHECKING:
    from refilm.jobs.analysis import Analysis


def add_commands(app: App) -> None:
    for command in (probe, compare, models, doctor, explain):
        app.command(command)


def probe(source: Annotated[Path, Parameter(name="IN")], /, *, findings: bool = False, json: bool = False) -> int:
    """Show what a video file contains, and how refilm will read it.

    Parameters
    ----------
    source
        A video file or picture sequence.
    findings
        Also look at some frames, which takes some seconds: noise, damage by compression, repeats, combs, what to do.
    json
        Print JSON, for programs.
    """
    from refilm.cli.tables import plain, video_table
    from refilm.video import probe as look

    info = look(source)
    if not findings:
        show(info, video_table, json)
        return DONE
    from refilm.api import analyse

    found = analyse(source)
    if json:
        show(plain(info) | {"findings": plain(found)}, None, as_json=True)
    else:
        show(info, video_table, as_json=False)
        show_analysis(found, found.command(Path("OUT")) if found.wanted else None)
    return DONE


def compare(
    a: Path,
    b: Path,
    /,
    *,
    pictures: Path | None = None,
    from_start: bool = False,
    vmaf: bool = False,
    json: bool = False,
) -> int:
    """Measure how much two videos differ, in the frames that they show at the same times.

    Parameters
    ----------
    a
        A video file or picture sequence.
    b
        Another one of the same size.
    pictures
        A new folder for a curve over time, frames side by side, and the figures of every frame.
    from_start
        Count times from each video's own first frame.
    vmaf
        Measure VMAF of B against A as well, which wants an FFmpeg with libvmaf.
    json
        Print JSON, for programs.
    """
    from refilm.cli.console import JobConsole
    from refilm.cli.tables import comparison_table
    from refilm.comparison import comparison

    console = JobConsole(as_json=False)
    with console:
        found = comparison.compare(a, b, pictures, from_start=from_start, vmaf=vmaf, on_progress=console.progress)
    show(found, comparison_table, json)
    return DONE


def models(pattern: str = "*", /, *, json: bool = False) -> int:
    """List the models, with the figures measured for them.

    Parameters
    ----------
    pattern
        Names to list, such as "*ls3d*".
    json
        Print JSON, for programs.
    """
    from refilm.cli.tables import models_table, models_with_figures

    show(models_with_figures(pattern), models_table, json)
    return DONE


def doctor(*, json: bool = False) -> int:
    """Show what this installation runs on: versions, devices, encoders, and the kernel behind each operator.

    Parameters
    ----------
    json
        Print JSON, for programs.
    """
    from refilm.cli.tables import doctor_table, examine

    show(examine(), doctor_table, json)
    return DONE


def explain(
    source: Annotated[Path, Parameter(name="IN")],
    output: Annotated[Path, Parameter(name="OUT")],
    /,
    *,
    at: str,
    model: str | None = None,
    weights: str = "default",
) -> int:
    """Show which pixels of two frames a model uses for one pixel of a frame between them, as red points.

    refilm explain holiday.mp4 looks.png --at 2.5,320,180

    Parameters
    ----------
    source
        A video file.
    output
        A PNG picture.
    at
        T,X,Y: a time in seconds, and the position of the pixel, from 0,0 in the upper left corner. The new frame lies
        half-way between the two frames around that time.
    model
        A model for interpolation, or a weight file, which says its model. Default: vi-ls3d-small.
    weights
        "default", or a weight file: its path, or the name of one that ships.
    """
    try:
        seconds, x, y = at.split(",")
        place = float(seconds), int(x), int(y)
    except ValueError:
        raise UsageError(f"--at wants T,X,Y such as 2.5,320,180 (seconds, pixels), got {at}") from None
    from refilm.evaluation.sampling import explain

    found = explain(source, *place, output, model, weights)
    print(
        f"{output}: {found.points} points act on the pixel, {found.distance:.1f} pixels away in the mean, "
        f"in the frames at {float(found.first):.3f} s and {float(found.second):.3f} s"
    )
    return DONE


def show_analysis(found: Analysis, command: str | None) -> None:
    """Print what a film shows, and on a line of its own, to be copied, what is to be done first or the command."""
    from refilm.cli.tables import analysis_table

    show(found, analysis_table, as_json=False)
    if line := found.first or command:
        print(line)


def show(content: Any, as_table: Any, as_json: bool) -> None:
    from refilm.cli.tables import plain

    if as_json:
        print(json_format.dumps(plain(content), indent=1))
    else:
        Console().print(as_table(content))
