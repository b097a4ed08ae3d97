"""The command that goes from one picture to another."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter

from refilm import options
from refilm.errors import DONE, UsageError
from refilm.jobs.device import check_device


def add_commands(app: App) -> None:
    app.command(morph)


def morph(
    *paths: Annotated[Path, Parameter(name="A B ... OUT")],
    own: Annotated[options.Morph, Parameter(name="*")] = options.Morph(),
    learn_from: Path | None = None,
    minutes: float = 2.0,
    side: int = 96,
    keep: Path | None = None,
    weights: Path | None = None,
    model: str | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    encoding: Annotated[
        options.Encoding, Parameter(name="*", group=Group("Encoding of the output, in FFmpeg's terms", sort_key=2))
    ] = options.Encoding(),
    json: bool = False,
) -> int:
    """Make a film of the way from one picture to another, or through several, at constant speed.

    refilm morph first.png last.png between.mp4 --learn-from film.mp4

    By space, the way runs through pictures such as those that a space has learned: it turns, bends or changes them as
    they do, and fades nothing. So it is for pictures of one kind, such as frames of one film. Between two unrelated
    photographs there is no such way; --by motion moves one into the other instead, as far as they look alike.

    Parameters
    ----------
    paths
        Two or more pictures of one size; and the output, a video file, or numbered pictures such as way/%06d.png.
    learn_from
        Learn a space from a film, or a folder of pictures and films. The way is as fine as the pictures it learns.
    minutes
        How long to learn.
    side
        About the longer side, in pixels, of the pictures that are learned. The film is enlarged to the pictures' size.
    keep
        Write the learned space to this folder as a weight file, for --weights.
    weights
        A weight file of a space, by path or shipped name. Default: of those that ship, the one that knows the pictures.
    model
        By motion: an interpolation model, or its weight file. Default: the best measured one.
    device
        Where the interpolation model runs: cpu, cuda, ...
    overwrite
        Replace an existing output, in one step, when the new one is complete.
    json
        Print events and the report as JSON lines on standard output, for programs.
    """
    if len(paths) < 3:
        raise UsageError(f"wanted A B OUT, two pictures or more and a film to make; got {len(paths)} paths")
    if learn_from is not None and (own.by != "space" or weights is not None):
        raise UsageError(f"--learn-from learns a space; leave out {'--by motion' if weights is None else '--weights'}")
    if keep is not None and learn_from is None:
        raise UsageError("--keep keeps a space that is learned; add --learn-from, or leave it out")
    check_device(device)
    *pictures, output = paths
    from refilm.cli.console import JobConsole

    console = JobConsole(json)
    with console, tempfile.TemporaryDirectory(prefix="refilm-") as unkept:
        from refilm import api  # loads torch

        if learn_from is not None:
            api.check_way(pictures, output, overwrite=overwrite, **asdict(encoding))
            console.step(f"learning from {learn_from.name}")
            weights = _learned(learn_from, minutes, side, Path(unkept) if keep is None else keep)
            if keep is not None:
                print(f"space: {weights}", file=sys.stderr)
        report = api.morph(
            pictures,
            output,
            model=model,
            weights=weights,
            device=device,
            overwrite=overwrite,
            on_step=console.step,
            warn=console.warn,
            **asdict(own),
            **asdict(encoding),
        )
    console.report(report)
    return DONE


def _learned(source: Path, minutes: float, side: int, folder: Path) -> Path:
    from refilm.cli.learn import training_package

    training_package()  # UsageError where lightning is not installed
    from refilm.training.morphing import learn_space

    try:
        return learn_space(source, minutes, side, folder)
    except ValueError as error:
        raise UsageError(str(error)) from None
