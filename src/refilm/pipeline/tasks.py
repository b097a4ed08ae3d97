"""The jobs users know by name: a file in, a file out."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from refilm.errors import UsageError
from refilm.models import MODELS, create_model, default_model
from refilm.pipeline.interpolation import Interpolate
from refilm.pipeline.job import Job, Output, Progress
from refilm.pipeline.report import Report
from refilm.video import VideoInfo


def interpolate(
    path_in: str | Path,
    path_out: str | Path,
    times: int | None = None,
    fps: Fraction | float | str | None = None,
    *,
    model: str | None = None,
    weights: str | Path | None = "default",
    device: str = "cpu",
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
    scene_cuts: bool = True,
    tile: int | None = None,
    input_fps: Fraction | float | str | None = None,
    overwrite: bool = False,
    restart: bool = False,
    force: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Report:
    """Make a video smoother: new frames between its own, which keep their pixels and times.

    times       n frames become times * (n - 1) + 1; 2 doubles the frame rate (the default is 2)
    fps         instead of `times`: frames at exactly this rate ("60000/1001" works), from the first frame on
    model       a name of refilm.list_models(); None: the one with the best figure in results/
    codec, crf, preset, pix_fmt   of the output, in FFmpeg's words; None: near transparent H.264, or H.265 above 8 bit
    scene_cuts  repeat the nearer frame across a cut instead of mixing the scenes
    tile        side in pixels of the parts in which the model sees large pictures, if its reach is finite
    input_fps   frame rate of a picture sequence such as frames/%06d.png
    overwrite   replace an existing output, in one step, once the new one is complete
    restart     forget an unfinished job with other settings
    force       go on where an interlaced source would be refused

    Sound, subtitles, chapters, attachments and metadata are carried over. Killed and called again with the same
    arguments, it goes on where it stopped. Raises VideoError, JobError, WeightsError;
    UsageError, a ValueError, for bad arguments.
    """
    if times is None and fps is None:
        times = 2
    rate = None if fps is None else _rate(fps)
    name = model if model is not None else default_model("interpolation")
    try:
        network: Any = create_model(name, weights=weights).to(_device(device)).eval()
    except ValueError as error:
        raise UsageError(str(error)) from None
    weights_name = MODELS[name].weights if weights == "default" else None if weights is None else Path(weights).name
    if tile is not None and network.reach is None:
        raise UsageError(f"{name} needs the whole picture at once; leave out tile")
    Interpolate(network, times, rate)  # raises for bad arguments before any file is touched

    def make_stage(info: VideoInfo) -> Interpolate:
        return Interpolate(network, times, rate, info.start_time, device, tile)

    job = Job(
        source=Path(path_in),
        output=Output(Path(path_out), codec, crf, preset, pix_fmt, overwrite),
        make_stage=make_stage,
        settings={
            "task": "interpolate",
            "model": name,
            "weights": weights_name,
            "times": times,
            "fps": None if rate is None else str(rate),
            "device": torch.device(device).type,
            "tile": tile,
        },
        weights=weights_name,
        scene_cuts=scene_cuts,
        rate=None if input_fps is None else _rate(input_fps),
        restart=restart,
        force=force,
    )
    return job.run(on_progress, warn)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device is called {name!r}; there are cpu, cuda, cuda:1, ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"{name}: this machine has no CUDA device that torch can use; leave out --device")
    return device


def _rate(value: Fraction | float | str) -> Fraction:
    """60, "60000/1001", 59.94 -> an exact rate; 23.976, 29.97 and 59.94 are taken for NTSC's n * 1000/1001."""
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"wanted a frame rate such as 60, 59.94 or 60000/1001, got {value!r}")
    nearest = Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
    return (
        nearest
        if rate.denominator > 1 and rate.denominator != 1001 and abs(rate - nearest) < Fraction(1, 200)
        else rate
    )
