"""The jobs users know by name: a file in, a file out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch

from refilm.errors import UsageError
from refilm.jobs.budget import amount
from refilm.jobs.job import Job, Output, Progress
from refilm.jobs.report import Report
from refilm.models import MODELS, create_model, default_model
from refilm.stages.interpolate import Interpolate
from refilm.stages.restore import Restore
from refilm.stages.stage import Chain, Stage
from refilm.video import VideoInfo

# The kinds of work in the order of a chain, and what their models call it.
TASKS = {
    "denoise": "denoising",
    "deblock": "deblocking",
    "upscale": "super-resolution",
    "interpolate": "interpolation",
}


class Options(TypedDict, total=False):
    """What every task takes beside its own arguments.

    device      where the models run: "cpu" (the default), "cuda", ...
    codec, crf, preset, pix_fmt   of the output, in FFmpeg's words; None: near transparent H.264, or H.265 above 8 bit
    scene_cuts  find cuts and keep the models from mixing scenes; the default
    tile        side in pixels of the parts in which models see large pictures, if their reach is finite; None: whole
                pictures, or the largest parts that memory allows
    max_memory  what the job may take, such as "4GB", or of a GPU's memory; None: three quarters of what is free
    threads     processor cores to use; None: all
    input_fps   frame rate of a picture sequence such as frames/%06d.png
    overwrite   replace an existing output, in one step, once the new one is complete
    restart     forget an unfinished job with other settings
    force       go on where an interlaced source would be refused
    leave_finished   where the output is there already, made by this very job, leave it and return its report
    on_progress, warn   are called with the state of the job and with what its user should know
    """

    device: str
    codec: str | None
    crf: float | None
    preset: str | None
    pix_fmt: str | None
    scene_cuts: bool
    tile: int | None
    max_memory: str | float | None
    threads: int | None
    input_fps: Fraction | float | str | None
    overwrite: bool
    restart: bool
    force: bool
    leave_finished: bool
    on_progress: Callable[[Progress], None]
    warn: Callable[[str], None]


def interpolate(
    path_in: str | Path,
    path_out: str | Path,
    times: int | None = None,
    fps: Fraction | float | str | None = None,
    *,
    model: str | None = None,
    weights: str | Path | None = "default",
    **options: Unpack[Options],
) -> Report:
    """Make a video smoother: new frames between its own, which keep their pixels and times.

    times       n frames become times * (n - 1) + 1; 2 doubles the frame rate (the default is 2)
    fps         instead of `times`: frames at exactly this rate ("60000/1001" works), from the first frame on
    model       a name of refilm.list_models(); None: the one with the best figure in results/
    options     `Options`; across a scene cut, the nearer frame is repeated

    Sound, subtitles, chapters, attachments and metadata are carried over. Killed and called again with the same
    arguments, it goes on where it stopped. Raises VideoError, JobError, WeightsError;
    UsageError, a ValueError, for bad arguments.
    """
    return _run(path_in, path_out, [_interpolation(times, fps, model, weights)], **options)


def denoise(
    path_in: str | Path,
    path_out: str | Path,
    sigma: float | None = None,
    *,
    model: str | None = None,
    weights: str | Path | None = "default",
    **options: Unpack[Options],
) -> Report:
    """Take the noise out of a video.

    sigma       the noise's standard deviation, of 255; None: the model judges for itself

    Everything else as for `interpolate`.
    """
    return _run(path_in, path_out, [_denoising(sigma, model, weights)], **options)


def deblock(
    path_in: str | Path,
    path_out: str | Path,
    *,
    model: str | None = None,
    weights: str | Path | None = "default",
    **options: Unpack[Options],
) -> Report:
    """Take out of a video what compression has done to it. Everything else as for `interpolate`."""
    return _run(path_in, path_out, [_restoration("deblock", model, weights)], **options)


def upscale(
    path_in: str | Path,
    path_out: str | Path,
    scale: int | None = None,
    *,
    model: str | None = None,
    weights: str | Path | None = "default",
    **options: Unpack[Options],
) -> Report:
    """Make a video larger and sharper.

    scale       times as wide and as high; None: as the model does

    Everything else as for `interpolate`.
    """
    return _run(path_in, path_out, [_upscaling(scale, model, weights)], **options)


def enhance(
    path_in: str | Path,
    path_out: str | Path,
    *,
    denoise: bool = False,
    sigma: float | None = None,
    deblock: bool = False,
    upscale: int | None = None,
    times: int | None = None,
    fps: Fraction | float | str | None = None,
    models: Sequence[str] = (),
    **options: Unpack[Options],
) -> Report:
    """Several tasks in one pass over a video, with one decoding and one encoding, in the order of these arguments.

    denoise, sigma, deblock, upscale, times, fps   as for the tasks of these names
    models      names of models to take instead of the default ones; each serves the task it was made for

    Everything else as for `interpolate`.
    """
    if sigma is not None and not denoise:
        raise UsageError("sigma is the level of the noise to take out; add denoise, or leave out sigma")
    chosen = {_task_of(name): name for name in models}
    works = []
    if denoise:
        works.append(_denoising(sigma, chosen.pop("denoising", None)))
    if deblock:
        works.append(_restoration("deblock", chosen.pop("deblocking", None)))
    if upscale is not None:
        works.append(_upscaling(upscale, chosen.pop("super-resolution", None)))
    if times is not None or fps is not None:
        works.append(_interpolation(times, fps, chosen.pop("interpolation", None)))
    if chosen:
        task, name = next(iter(chosen.items()))
        raise UsageError(f"{name} is a model for {task}, which is not asked for")
    if not works:
        raise UsageError("nothing is asked for; wanted at least one of denoise, deblock, upscale, times, fps")
    return _run(path_in, path_out, works, **options)


@dataclass(frozen=True)
class _Work:
    """One task of a job, ready to be set up on a device.

    settings   whatever decides its result
    make       its stage, for a source, a device and a tile
    """

    name: str
    model: Any
    weights: str | None
    settings: dict[str, Any]
    make: Callable[[VideoInfo, torch.device, int | None], Stage]


def _interpolation(
    times: int | None, fps: Fraction | float | str | None, name: str | None, weights: str | Path | None = "default"
) -> _Work:
    if times is None and fps is None:
        times = 2
    rate = None if fps is None else _rate(fps)
    name, model, file = _model("interpolate", name, weights)
    Interpolate(model, times, rate)  # raises for bad arguments before any file is touched

    def make(info: VideoInfo, device: torch.device, tile: int | None) -> Stage:
        return Interpolate(model, times, rate, info.start_time, device, tile)

    settings = {"model": name, "weights": file, "times": times, "fps": None if rate is None else str(rate)}
    return _Work("interpolate", model, file, settings, make)


def _denoising(sigma: float | None, name: str | None, weights: str | Path | None = "default") -> _Work:
    if sigma is not None and not 0 < sigma <= 255:
        raise UsageError(f"sigma is the noise's standard deviation, above 0 and at most 255, got {sigma:g}")
    return _restoration("denoise", name, weights, {"sigma_8bit": sigma})


def _upscaling(scale: int | None, name: str | None, weights: str | Path | None = "default") -> _Work:
    work = _restoration("upscale", name, weights)
    if scale not in (None, work.model.scale):
        raise UsageError(f"{work.settings['model']} upscales by {work.model.scale}, not by {scale}")
    return work


def _restoration(
    name: str, model_name: str | None, weights: str | Path | None = "default", options: dict[str, Any] | None = None
) -> _Work:
    """options   what the model's call takes beside the clip"""
    model_name, model, file = _model(name, model_name, weights)

    def make(_: VideoInfo, device: torch.device, tile: int | None) -> Stage:
        return Restore(name, model, options, device, tile)

    return _Work(name, model, file, {"model": model_name, "weights": file} | (options or {}), make)


def _model(work: str, name: str | None, weights: str | Path | None) -> tuple[str, Any, str | None]:
    """The name, the model and the file name of its weights."""
    task = TASKS[work]
    name = name if name is not None else default_model(task)
    if _task_of(name) != task:
        others = ", ".join(sorted(other for other in MODELS if _task_of(other) == task)) or "none"
        raise UsageError(f"{name} is a model for {_task_of(name)}, not for {task}; for that there are: {others}")
    model = create_model(name, weights=weights).eval()
    file = MODELS[name].weights if weights == "default" else None if weights is None else Path(weights).name
    return name, model, file


def _task_of(name: str) -> str:
    if name not in MODELS:
        try:
            create_model(name)
        except ValueError as error:  # says which there are
            raise UsageError(str(error)) from None
    return MODELS[name].task


def _run(
    path_in: str | Path,
    path_out: str | Path,
    works: Sequence[_Work],
    *,
    device: str = "cpu",
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
    scene_cuts: bool = True,
    tile: int | None = None,
    max_memory: str | float | None = None,
    threads: int | None = None,
    input_fps: Fraction | float | str | None = None,
    overwrite: bool = False,
    restart: bool = False,
    force: bool = False,
    leave_finished: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Report:
    """The job of all `works` in one pass; the options are those of `Options`."""
    place = _device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    for work in works:
        work.model.to(place)
    if tile is not None and all(work.model.reach is None for work in works):
        names = " and ".join(work.settings["model"] for work in works)
        raise UsageError(f"{names} needs the whole picture at once; leave out tile")

    def make_stage(info: VideoInfo, tile: int | None) -> Stage:
        return Chain([work.make(info, place, tile) for work in works])

    job = Job(
        source=Path(path_in),
        output=Output(Path(path_out), codec, crf, preset, pix_fmt, overwrite),
        make_stage=make_stage,
        settings={work.name: work.settings for work in works} | {"device": place.type, "tile": tile},
        weights=tuple(work.weights for work in works if work.weights is not None),
        scene_cuts=scene_cuts,
        rate=None if input_fps is None else _rate(input_fps),
        restart=restart,
        force=force,
        leave_finished=leave_finished,
        threads=threads or os.cpu_count() or 1,
        tile=tile,
        max_memory=None if max_memory is None else amount(max_memory),
        device=place,
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
