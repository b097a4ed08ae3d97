"""The commands for research: preparing material, training, comparing and measuring models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cyclopts import App

from refilm.errors import DONE, UsageError

data = App(name="data", help="Prepare material for training.", help_format="plaintext")


def add_commands(app: App) -> None:
    app.command(evaluate, name="eval")
    app.command(train)
    app.command(ablate)
    app.command(data)
    data.command(pack)


def pack(
    folder: Path,
    out: Path,
    /,
    *,
    longest: int = 48,
    shortest: int = 12,
    gap: int = 48,
    short_side: int = 360,
    shrink: float = 2.0,
    crf: float = 18,
) -> int:
    """Cut films into short clips worth training on: cut at scene changes, cropped, made smaller, listed.

    Static, dark and badly compressed stretches are left out. Run again, it goes on where it was.

    Parameters
    ----------
    folder
        Videos and folders of pictures, or Vimeo-90K, REDS or DAVIS as they are unpacked.
    out
        The pack's folder, such as films.pack.
    longest
        Frames of a clip at most.
    shortest
        Frames of a clip at least.
    gap
        Frames left out after each clip, so that long takes do not fill the pack.
    short_side
        Of a clip at most, in pixels.
    shrink
        How many times smaller than its film a clip is at least, which cleans away the film's own compression.
    crf
        Quality of the clips; lower is better and larger.
    """
    from refilm.data import packing
    from refilm.stages.scene_cuts import SceneCuts

    try:
        settings = packing.Packing(longest, shortest, gap, short_side, shrink, crf)
    except ValueError as error:
        raise UsageError(str(error)) from None
    clips = packing.pack(folder, out, settings, SceneCuts().mark, _note)
    held = sum(clip.bytes for clip in clips) / 1e6
    print(f"{out}: {len(clips)} clips, {sum(clip.frames for clip in clips)} frames, {held:.1f} MB")
    return DONE


def evaluate(
    model: str,
    folder: Path,
    /,
    *,
    protocol: str | None = None,
    every: int | None = None,
    results: Path = Path("results"),
    weights: str = "default",
    device: str = "cpu",
    pictures: Path | None = None,
) -> int:
    """Measure a model on videos, beside the plain ways to do the same, and write the tables.

    Parameters
    ----------
    model
        A name from `refilm models`, or a baseline: frame-repeat, frame-blend, minterpolate, input, hqdn3d, nlmeans,
        deblock, bicubic, lanczos.
    folder
        Videos of one scene each; its name becomes the set's.
    protocol
        What is asked of the model: interpolation-x2, interpolation-x4, denoising-sigma15, denoising-sigma25,
        deblocking-h264-crf37, deblocking-jpeg2000-q40, deblocking-jpeg2000-q20, super-resolution-x4-bi or
        super-resolution-x4-bd. Default: the one by which models of its task are ranked.
    every
        Of so many frames measure two, where all would take too long; not for interpolation.
    results
        Where the figures go: RESULTS/SET/MODEL.json and a table.
    weights
        "default", or a weight file.
    device
        Where the model runs: cpu, cuda, ...
    pictures
        A folder for strips of frames: before, truth, result, after; where pictures are restored: input, baseline,
        result, truth.
    """
    from refilm import evaluation

    options: dict[str, Any] = {"every": every, "weights": weights, "device": device, "pictures": pictures}
    options["note"] = _note
    try:
        result = evaluation.evaluate(model, folder, protocol, results, **options)
    except ValueError as error:  # no such model or protocol
        raise UsageError(str(error)) from None
    print((results / folder.resolve().name / f"{evaluation.task_of(result.protocol)}.md").read_text())
    return DONE


def train(
    recipe: Path,
    /,
    *,
    minutes: float | None = None,
    set: tuple[str, ...] = (),
    out: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    export: Path | None = None,
    note: str = "",
) -> int:
    """Train a model as a recipe says; called again, it goes on from its checkpoint.

    Parameters
    ----------
    recipe
        A TOML file, such as recipes/vdn_ls3d_small.toml.
    minutes
        Stop after this long, with a checkpoint to go on from.
    set
        KEY=VALUE over the recipe's, such as --set batch=4; may be given again.
    out
        Folder of checkpoint, log and pictures. Default: runs/RECIPE.
    device
        auto, cpu or gpu.
    devices
        Processes that share each step (DDP).
    export
        A folder to write the weight file into at the end.
    note
        A line that goes into the weight file, such as the budget.
    """
    training = _training()
    try:
        checkpoint = training.train(recipe, minutes, set, out, device, devices, progress=sys.stderr.isatty())
        print(f"checkpoint: {checkpoint}")
        if export is not None:
            print(f"weights: {training.export(checkpoint, export, note)}")
    except ValueError as error:  # of the recipe
        raise UsageError(str(error)) from None
    return DONE


def ablate(file: Path, /, *, seeds: int = 1, results: Path = Path("results/ablations"), device: str = "auto") -> int:
    """Train the arms of a paper's comparison on the same batches, and write the table.

    Parameters
    ----------
    file
        One of recipes/ablations.
    seeds
        Trainings of each arm.
    results
        Where the figures go.
    device
        auto, cpu or gpu.
    """
    training = _training()
    try:
        print(training.ablate(file, seeds, results, device=device, note=_note).read_text())
    except ValueError as error:  # of the recipe
        raise UsageError(str(error)) from None
    return DONE


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _training() -> Any:
    """refilm.training, which needs packages that running a model does not."""
    try:
        from refilm import training
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is needed to train: pip install 'refilm[train]'") from None
    return training
