"""The commands for research: training, comparing and measuring models."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic
from typing import Any

from cyclopts import App

from refilm.errors import DONE, UsageError

weights_files = App(name="weights", help="Make, fetch and share weight files.", help_format="plaintext")


def add_commands(app: App) -> None:
    app.command(evaluate, name="eval")
    app.command(train)
    app.command(ablate)
    app.command(weights_files)
    weights_files.command(convert)


def evaluate(
    model: str,
    data: Path | None = None,
    *,
    protocol: str | None = None,
    every: int | None = None,
    results: Path = Path("results"),
    weights: str = "default",
    device: str = "cpu",
    pictures: Path | None = None,
    vmaf: bool = False,
    lpips: bool = False,
    fold: str = "",
    through: str | None = None,
    effort: int = 0,
) -> int:
    """Measure a model and the baselines of its task on videos, and write tables of the results.

    Parameters
    ----------
    model
        A name from `refilm models`, or a weight file, which says its model; or a baseline: frame-repeat, frame-blend,
        minterpolate, input, hqdn3d, nlmeans, deblock, bicubic, lanczos, chance, commonest-class.
        Or geodesic: the spaces of `refilm morph`, on sets that are made, for which no data is named.
    data
        A folder of clips of one scene each: videos, folders of pictures, a pack, or Vimeo-90K, REDS or DAVIS as
        unpacked, of which the test split is measured. For recognition, a folder of clips for each class, index.csv with
        file and label, or UCF101, HMDB51, Kinetics, Something-Something or Diving48. For detection, films with
        annotations: sequences with masks, clips of `refilm data scenes`, MOTChallenge, ImageNet VID, or pictures with a
        file in COCO's format. Its name becomes the name of the data set.
    protocol
        The evaluation protocol: interpolation-x2, interpolation-x4, deblurring-averaged, deblurring-exact,
        deblurring-sharp, denoising-sigma15, denoising-sigma15-blind, denoising-sigma25, denoising-sigma25-blind,
        denoising-clean, deblocking-h264-crf37, deblocking-hevc-crf37, deblocking-mpeg2-q14, deblocking-jpeg2000-q40,
        deblocking-jpeg2000-q20, deblocking-clean, super-resolution-x4-bi, super-resolution-x4-real,
        super-resolution-x4-bd, recognition-center, recognition-tsn-25x10, recognition-i3d-10x3, detection-frames; or
        compression-rd. Default: the one by which models of the task are ranked.
    every
        Measure only the first two of every so many frames, to save time, or of detection one; not for interpolation.
    results
        Folder for the results: RESULTS/SET/MODEL.json and a table.
    weights
        "default", or a weight file: its path, or the name of one that ships. For recognition, also a folder of weight
        files, each of which is measured on the clips that were held out from it.
    device
        Where the model runs: cpu, cuda, ...
    pictures
        Folder for strips of frames. Interpolation: frame before, real frame, result, frame after. Restoration: input,
        baseline, result, original. Detection: a sheet with a frame of each film. With --through: for the first clip of
        each class, crops, a row over time, and the optical flow.
    vmaf
        Measure VMAF as well, which wants an FFmpeg with libvmaf.
    lpips
        Measure LPIPS as well, of which less is better.
    fold
        Recognition: whose held-out clips are measured. Default: that of the weights, or the set's first.
    through
        Recognition: measure on clips that are made small, noisy or compressed, as they are and after models have
        restored them: names or weight files, such as sosr-small,tosr-small; or upscale, denoise, deblock for default
        models. A+B: A for what looks at single frames, B for what looks at motion; of two models, their pair is
        measured as well. MODEL may then also be two, RGB+FLOW, whose scores are fused, and each a folder of weight
        files. Writes RESULTS/recognition/SET.md.
    effort
        Compression: with which the codec encodes, as for `refilm encode`.
    """
    from refilm.jobs.device import check_device

    check_device(device)
    if model == "geodesic":
        from refilm.evaluation.geodesic_results import evaluate_geodesic

        print(evaluate_geodesic(results, note).read_text())
        return DONE
    if data is None:
        raise UsageError(f"name the folder of videos on which {model} is measured: refilm eval {model} FOLDER")
    from refilm import evaluation

    options: dict[str, Any] = {"weights": weights, "device": device, "pictures": pictures, "fold": fold, "note": note}
    further = ["vmaf"] * vmaf + ["lpips"] * lpips
    if through is not None:
        if every is not None or further or effort:
            raise UsageError(
                "--through shows whole clips to recognisers; leave out --every, --vmaf, --lpips and --effort"
            )
        print(evaluation.evaluate_through(model, data, through, protocol, results, **options).read_text())
        return DONE
    options |= {"every": every, "further": further, "effort": effort}
    try:
        result = evaluation.evaluate(model, data, protocol, results, **options)
    except ValueError as error:  # no such model or protocol
        raise UsageError(str(error)) from None
    print((results / data.resolve().name / f"{evaluation.task_of(result.protocol)}.md").read_text())
    return DONE


def train(
    recipe: Path,
    /,
    *,
    data: Path | None = None,
    minutes: float | None = None,
    set: tuple[str, ...] = (),
    out: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int | None = None,
    export: Path | None = None,
    note: str = "",
) -> int:
    """Train a model as a recipe says. The same command continues from the last checkpoint.

    Parameters
    ----------
    recipe
        A TOML file, such as recipes/vdn_ls3d_small.toml.
    data
        A folder to train and validate on: films and pictures, a pack, or Vimeo-90K, REDS or DAVIS as unpacked.
    minutes
        End within this long, with all validations. Default: after the steps of the recipe.
    set
        KEY=VALUE overrides the recipe, such as --set batch=4; can be given several times.
    out
        Folder for checkpoint, logs and pictures. Default: runs/RECIPE.
    device
        auto, cpu or gpu.
    devices
        Number of processes that share each step (DDP).
    workers
        Number of processes that draw batches ahead. Default: two less than the cores, at most 8.
    export
        Write a weight file to this folder at the end.
    note
        A line for the weight file, such as the time that the training took.
    """
    began = monotonic()
    _check_accelerator(device)
    training = training_package()
    if minutes is not None:  # loading torch and lightning counts as well
        minutes -= (monotonic() - began) / 60
    try:
        checkpoint = training.train(
            recipe,
            minutes,
            set,
            out,
            device,
            devices,
            progress=sys.stderr.isatty(),
            data=data,
            exports=export is not None,
            workers=workers,
        )
        print(f"checkpoint: {checkpoint}")
        if export is not None:
            print(f"weights: {training.export(checkpoint, export, note)}")
    except ValueError as error:  # of the recipe
        raise UsageError(str(error)) from None
    return DONE


def ablate(
    file: Path,
    /,
    *,
    data: Path | None = None,
    seeds: int = 1,
    results: Path = Path("results/ablations"),
    device: str = "auto",
) -> int:
    """Train the variants of a model that a paper compares, on the same batches, and write a table of the results.

    Parameters
    ----------
    file
        A TOML file, such as recipes/ablations/table7.toml.
    data
        A folder to train and validate on: films and pictures, a pack, or Vimeo-90K, REDS or DAVIS as unpacked.
    seeds
        Number of trainings of each variant.
    results
        Folder for the results.
    device
        auto, cpu or gpu.
    """
    _check_accelerator(device)
    training = training_package()
    try:
        print(training.ablate(file, seeds, results, device=device, note=note, data=data).read_text())
    except ValueError as error:  # of the recipe
        raise UsageError(str(error)) from None
    return DONE


def note(line: str) -> None:
    """Tell how far the work is, on standard error."""
    print(line, file=sys.stderr, flush=True)


def _check_accelerator(name: str) -> None:
    """Raises UsageError if training cannot run on what is called so; Lightning would print a traceback."""
    if name not in ("auto", "cpu", "gpu"):
        raise UsageError(f"no device is called {name!r} in training; there are auto, cpu and gpu")
    if name == "gpu":
        import torch

        if not torch.accelerator.is_available():
            raise UsageError("gpu: this machine has no GPU that torch can use; leave out --device")


def training_package() -> Any:
    """Import refilm.training, which needs packages that are not needed to run models. UsageError without them."""
    try:
        from refilm import training
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is needed to train: pip install '.[train]' in the folder of refilm's source"
        ) from None
    return training


def convert(source: Path, out: Path = Path(), /, *, model: str, labels: Path | None = None) -> int:
    """Make a weight file of a checkpoint of another program.

    It gives the backbone, and the classifier if it has as many classes; what it lacks has a random start, to be trained
    from. Known are torchvision, timm, mmaction2, PySlowFast, TSM and tsn-pytorch, see docs/checkpoints.md.

    Parameters
    ----------
    source
        A .pth, .pt, .pyth or .safetensors file. No code in it is run.
    out
        The folder for the weight file.
    model
        Name of a recognition model.
    labels
        A text file with a name of a class in each line, in the order of the classifier.
    """
    from refilm.models.conversion import convert as converted

    names = [] if labels is None else [line.strip() for line in labels.read_text().splitlines() if line.strip()]
    found = converted(source, model, out, names)
    last = "with its classifier" if found.classifier else "without a classifier"
    print(f"weights: {found.path}")
    print(f"{found.taken:,} parameters of {source} {last}; {found.started:,} have a random start")
    return DONE
