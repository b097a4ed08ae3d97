"""The commands that show something: about files, models and this installation."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console

from refilm.errors import DONE, UsageError

if TYPE_CHECKING:
    from refilm.jobs.analysis import Analysis


def add_commands(app: App) -> None:
    for command in (probe, compare, models, doctor, completion, explain):
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


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the script by which a shell completes the commands and options of refilm.

    bash: refilm completion bash > ~/.local/share/bash-completion/completions/refilm

    zsh: refilm completion zsh > DIR/_refilm, with a DIR of $fpath

    fish: refilm completion fish > ~/.config/fish/completions/refilm.fish

    Parameters
    ----------
    shell
        Your shell.
    """
    from refilm.cli.main import app

    print(app.generate_completion(shell=shell))
    return DONE


def explain(
    source: Annotated[Path, Parameter(name="IN")],
    output: Annotated[Path, Parameter(name="OUT")],
    /,
    *,
    at: str | None = None,
    label: str | None = None,
    model: str | None = None,
    weights: str = "default",
) -> int:
    """Show what a model looks at.

    refilm explain holiday.mp4 looks.png --at 2.5,320,180

    For interpolation: the pixels of two frames that make one pixel of a frame between them, as red points.

    refilm explain holiday.mp4 steps.png --model my-memc-net.safetensors --at 2.5

    For MEMC-Net and DAIN without a position: how the frame between comes about, by motion, depth, kernels and weights.

    refilm explain holiday.mp4 looks.png --model tsn-off-gesture --at 2.5

    For recognition: the frames that the model sees, and in warm colours what in them speaks for a label.

    Parameters
    ----------
    source
        A video file.
    output
        A PNG picture.
    at
        T,X,Y: a time in seconds, and the position of the pixel, from 0,0 in the upper left corner. The new frame lies
        half-way between the two frames around that time. T alone for how a frame of MEMC-Net or DAIN comes about, and
        for recognition; there the default is the middle of the film.
    label
        For recognition: the label. Default: the likeliest.
    model
        A model for interpolation or recognition, or a weight file, which says its model. Default: vi-ls3d-small.
    weights
        "default", or a weight file: its path, or the name of one that ships.
    """
    from refilm.models.table import MODELS, named

    name, file = named(model, weights)
    if name in MODELS and MODELS[name].task == "recognition":
        return _explain_recognition(source, output, at, label, name, file)
    if label is not None:
        raise UsageError("--label is about models for recognition; name one by --model, or leave out --label")
    if at and name and "," not in at:
        return _explain_synthesis(source, output, at, name, file)
    try:
        seconds, x, y = (at or "").split(",")
        place = float(seconds), int(x), int(y)
    except ValueError:
        raise UsageError(f"--at wants T,X,Y such as 2.5,320,180 (seconds, pixels), got {at or 'nothing'}") from None
    from refilm.evaluation.sampling import explain

    found = explain(source, *place, output, model, weights)
    print(
        f"{output}: {found.points} points act on the pixel, {found.distance:.1f} pixels away in the mean, "
        f"in the frames at {float(found.first):.3f} s and {float(found.second):.3f} s"
    )
    return DONE


def _explain_synthesis(source: Path, output: Path, at: str, name: str, weights: Any) -> int:
    from refilm.evaluation.synthesis import explain_synthesis
    from refilm.options import moment

    try:
        time = float(moment(at))
    except UsageError:
        raise UsageError(f"--at wants T or T,X,Y such as 2.5,320,180 (seconds, pixels), got {at}") from None
    first, second = explain_synthesis(source, time, output, name, weights)
    print(f"{output}: how {name} makes the frame between {float(first):.3f} s and {float(second):.3f} s")
    return DONE


def _explain_recognition(source: Path, output: Path, at: str | None, label: str | None, name: str, weights: Any) -> int:
    from refilm.options import moment

    try:
        time = None if at is None else moment(at)
    except UsageError:
        raise UsageError(f"{name} is for recognition, and --at wants a time such as 2.5, got {at}") from None
    from refilm.jobs.activation import activation
    from refilm.models import create_model

    found = activation(source, output, create_model(name, weights=weights).eval(), name, time, label)
    others = ", ".join(f"{each.label} {each.score:.0%}" for each in found.labels[:5])
    print(
        f"{output}: what speaks for {found.shown.label} from {float(found.start):.3f} s to {float(found.end):.3f} s, "
        f"in {found.frames} frames; the likeliest: {others}"
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
