"""Measuring a model on a folder of videos, beside the alternatives a user has."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import refilm
from refilm.errors import VideoError
from refilm.evaluation.interpolators import BASELINES, Interpolator, ModelInterpolator
from refilm.evaluation.metrics import psnr_db, ssim, warp_errors
from refilm.evaluation.pictures import write_strip
from refilm.evaluation.protocols import PROTOCOLS, Interpolation
from refilm.evaluation.results import ClipFigures, Result, write_result
from refilm.models.defaults import read_results
from refilm.models.table import MODELS, create_model
from refilm.video import frames
from refilm.video.colour import to_rgb

VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm", ".y4m"}


def evaluate(
    model: str,
    folder: str | Path,
    protocol: str = "interpolation-x2",
    results_dir: str | Path = "results",
    *,
    weights: str | Path = "default",
    device: str = "cpu",
    pictures: str | Path | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> Result:
    """Measure a model on every video of a folder, and write `results_dir/<folder's name>/`.

    model      a name of `list_models()` or of a baseline
    folder     videos, each a single scene; `index.json`, where there is one, names them
    protocol   a name of PROTOCOLS
    weights    "default" or the path of a weight file
    pictures   where a strip of frames is written for each clip; nowhere by default, since the set's licence decides
               who may see them
    note       is told one line for each clip

    Baselines that the results folder lacks for these clips are measured as well.
    Raises ValueError for an unknown name, VideoError for a folder without videos.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"no protocol is called {protocol!r}; there are: {', '.join(PROTOCOLS)}")
    if model not in BASELINES and model not in MODELS:
        raise ValueError(f"no model is called {model!r}; there are: {', '.join((*MODELS, *BASELINES))}")
    clips = find_clips(Path(folder))
    target = Path(results_dir) / Path(folder).resolve().name
    strips = None if pictures is None else Path(pictures)
    for baseline in BASELINES:
        if baseline != model and not _is_measured(target, baseline, protocol, clips):
            write_result(target, _measure(baseline, clips, PROTOCOLS[protocol], weights, device, strips, note))
    result = _measure(model, clips, PROTOCOLS[protocol], weights, device, strips, note)
    write_result(target, result)
    return result


def find_clips(folder: Path) -> list[Path]:
    """The videos `index.json` names, in its order; without one, every video file of the folder, sorted."""
    index = folder / "index.json"
    if index.exists():
        return [folder / entry["file"] for entry in json.loads(index.read_text())]
    clips = sorted(path for path in folder.glob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not clips:
        raise VideoError(f"{folder}: no video files found")
    return clips


def _is_measured(target: Path, baseline: str, protocol: str, clips: list[Path]) -> bool:
    held = {r["model"]: r["protocols"].get(protocol, {}) for r in read_results(target)}.get(baseline, {})
    return "absent" in held or set(held.get("clips", ())) == {clip.name for clip in clips}


def _measure(
    name: str,
    clips: list[Path],
    protocol: Interpolation,
    weights: str | Path,
    device: str,
    pictures: Path | None,
    note: Callable[[str], None],
) -> Result:
    is_baseline = name in BASELINES
    interpolator, weights_name, parameters = BASELINES.get(name), None, 0
    if interpolator is None:
        network = create_model(name, weights=weights)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if parameters:
            weights_name = MODELS[name].weights if weights == "default" else Path(weights).name
        interpolator = ModelInterpolator(network, torch.device(device))
    result = Result(
        name,
        protocol.name,
        refilm.__version__,
        device=_describe(torch.device("cpu" if is_baseline else device)),
        is_baseline=is_baseline,
        weights=weights_name,
        parameters=parameters,
    )
    stopwatch, figures = Stopwatch(), {}
    for path in clips:
        strip = None if pictures is None else pictures / name / f"{path.stem}.png"
        try:
            figures[path.name] = measure_clip(interpolator, path, protocol, stopwatch, strip)
        except LookupError as error:
            note(f"{name}: absent, {error}")
            return replace(result, absent=str(error))
        note(f"{name}  {path.name}  {figures[path.name].psnr_db:.2f} dB")
    return replace(result, ms_per_frame=stopwatch.median_ms, clips=figures)


def measure_clip(
    interpolator: Interpolator,
    path: Path,
    protocol: Interpolation,
    stopwatch: Stopwatch,
    strip: Path | None = None,
) -> ClipFigures:
    """The figures of one video; raises VideoError where it is too short for the protocol."""
    psnr, structure, errors = [], [], []
    size = (0, 0)
    for run in protocol.runs(frames(path)):
        size = run[0].width, run[0].height
        kept = run[:: protocol.step]
        new = stopwatch.timed(interpolator(kept, protocol.times), gap=len(protocol.times))
        before = real_before = to_rgb(run[0])
        for number, frame in enumerate(run[1:], start=1):
            real = to_rgb(frame)
            result = real if number % protocol.step == 0 else next(new)
            if number % protocol.step:
                psnr.append(psnr_db(result, real))
                structure.append(ssim(result, real))
                if strip is not None and number > len(run) // 2:
                    write_strip(strip, [to_rgb(run[number - 1]), real, result, to_rgb(run[number + 1])])
                    strip = None
            errors.append(warp_errors(before, result, real_before, real))
            before, real_before = result, real
    if not psnr:
        raise VideoError(f"{path}: {protocol.name} needs at least {protocol.step + 1} frames")
    warp, real_warp = map(_mean, zip(*errors, strict=True))
    return ClipFigures(len(psnr), *size, _mean(psnr), _mean(structure), warp, real_warp)


class Stopwatch:
    """The time an interpolator takes, apart from the time that measuring its frames takes.

    Counted by the gap, as a model may make all frames of one at once. The first gap of each run is left out: it pays
    for warming up, and for the look-ahead of FFmpeg's filter.
    """

    def __init__(self) -> None:
        self._seconds_per_frame: list[float] = []

    def timed(self, new: Iterator[Tensor], gap: int) -> Iterator[Tensor]:
        """The same frames, which come `gap` at a time."""
        spent, first_gap = 0.0, True
        for number in itertools.count(1):
            start = time.perf_counter()
            frame = next(new, None)
            spent += time.perf_counter() - start
            if frame is None:
                return
            if number % gap == 0:
                if not first_gap:
                    self._seconds_per_frame.append(spent / gap)
                spent, first_gap = 0.0, False
            yield frame

    @property
    def median_ms(self) -> float | None:
        """Of one new frame; the median, since other programs interrupt now and then. None before a second gap."""
        return statistics.median(self._seconds_per_frame) * 1000 if self._seconds_per_frame else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
