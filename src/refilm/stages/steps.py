"""The steps in which a stage runs its model, and the memory that each takes.

For the models that ship, the figures were measured at full size by `benchmarks/steps.py`, and are read from
`results/memory/steps.json`. For other models, and on a GPU, each step is run on two small pictures before the job.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.layers.temporal_filter import TemporalFilter
from refilm.models.contract import Interpolator, Restorer
from refilm.models.defaults import results_folder
from refilm.models.table import name_of
from refilm.stages.demand import Measured, measured

# Sides, in pixels, of the small pictures. Where a step takes little for a pixel, such as the search for motion, larger
# ones are more accurate.
_SIDES, _LARGER_SIDES = (96, 192), (192, 448)
# glibc asks the system for each block of more than 32 MB, and gives it back. Smaller ones share heaps, in which gaps
# remain: 1080p takes up to a third more in a job than each step does by itself.
_LARGE_BLOCK = 1 << 25
_MARGIN, _MARGIN_WITH_GAPS = 1.15, 1.35
# Bytes for each pixel of the blocks that most of a step's memory consists of: flows, and maps of 32 channels.
_FLOW, _MAPS = 8, 128
# The name of the temporal filter in the record.
FILTER = "temporal filter"


@dataclass(frozen=True)
class Step:
    """One step of a model's work on a picture.

    name    of the step, in `results/memory/steps.json`
    given   given(width, height) makes what the step works on, whose memory is not the step's
    run     the step
    sides   of the pictures on which it is measured
    block   bytes for each pixel of the blocks that most of its memory consists of
    """

    name: str
    given: Callable[[int, int], tuple[Any, ...]]
    run: Callable[..., object]
    sides: tuple[int, int] = _SIDES
    block: int = _FLOW


def interpolator_steps(model: Interpolator, count: int, device: torch.device | str = "cpu") -> list[Step]:
    """The steps of making `count` new frames between two frames: one, or two for a model that works in bands.

    In bands, new frames are made one after another, so the second step is that for a single one.
    """
    times = [Fraction(k + 1, count + 1) for k in range(count)]
    if model.instants is not None:
        times = ([Fraction(0)] if model.redraws_inputs else []) + list(model.instants)

    def clip(width: int, height: int) -> tuple[Tensor]:
        model.reset()  # of what it has seen, in pictures of another size
        return (moving_clip(model.window, width, height, device),)

    def clip_and_seen(width: int, height: int) -> tuple[Tensor, Sequence[Tensor]]:
        (frames,) = clip(width, height)
        return frames, model.before_bands(frames)

    if model.band_pixels(1) is None:
        return [Step(f"between, {count} frames", clip, lambda frames: model.between(frames, times), block=_MAPS)]
    return [
        Step("before bands", clip, model.before_bands, _LARGER_SIDES),
        Step("in bands", clip_and_seen, lambda frames, seen: model.in_bands(frames, seen, times[:1])),
    ]


def restorer_steps(model: Restorer, options: dict[str, Any], device: torch.device | str = "cpu") -> list[Step]:
    """The steps of restoring a frame without the temporal filter: preparing the window, and the network."""

    def clip(width: int, height: int) -> tuple[Tensor]:
        model.reset()
        return (moving_clip(model.window, width, height, device),)

    return [
        Step("prepare", clip, model.prepare, _LARGER_SIDES),
        Step("network", clip, lambda frames: model.network(frames, **options), block=_MAPS),
    ]


def filter_steps(temporal_filter: TemporalFilter, device: torch.device | str = "cpu") -> list[Step]:
    """The steps of the temporal filter, on results of the given size."""

    def frames(width: int, height: int) -> tuple[Sequence[Tensor]]:
        return (moving_clip(3, width, height, device).unbind(2),)

    def frames_and_flows(width: int, height: int) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        (three,) = frames(width, height)
        return three, temporal_filter.before_bands(three)

    return [
        Step("before bands", frames, temporal_filter.before_bands, _LARGER_SIDES),
        Step("in bands", frames_and_flows, temporal_filter.in_bands),
    ]


def memory_of(step: Step, owner: object, width: int, height: int, device: torch.device | str = "cpu") -> Measured:
    """The memory of a step of `owner`, a model or the filter, for a film of this size: on record, or else measured."""
    device = torch.device(device)
    if device.type == "cpu" and (figure := _on_record(owner, step.name)) is not None:
        margins = [_MARGIN if step.block * pixels > _LARGE_BLOCK else _MARGIN_WITH_GAPS for pixels, _ in figure.points]
        return Measured(tuple((p, margin * peak) for margin, (p, peak) in zip(margins, figure.points, strict=True)))
    multiple = getattr(owner, "size_multiple", 1)
    sizes = [
        (-(-min(width, side) // multiple) * multiple, -(-min(height, side) // multiple) * multiple)
        for side in step.sides
    ]
    return measured(step.given, step.run, sizes, device)


def bytes_seen(model: Interpolator, device: torch.device | str = "cpu") -> float:
    """Bytes for each pixel of what `before_bands` gives."""
    if (figure := _on_record(model, "seen")) is not None:
        return figure.at(1)
    side = 32 * model.size_multiple
    with torch.inference_mode():
        seen = model.before_bands(moving_clip(model.window, side, side, device))
    return sum(found.nbytes for found in seen) / side**2


def moving_clip(length: int, width: int, height: int, device: torch.device | str = "cpu") -> Tensor:
    """A texture that moves behind lettering at rest, which models that keep such overlays look for and find.

    [1, 3, length, H, W], RGB
    """
    size, step = (height, width), 8 + height // 40
    grain = torch.rand(1, 1, *(-(-side // (step + 4)) for side in size), generator=torch.Generator().manual_seed(0))
    texture = 0.8 * F.interpolate(grain, size, mode="bicubic").clamp(0, 1).expand(-1, 3, -1, -1)
    clip = torch.stack([texture.roll(step * t, 3) for t in range(length)], dim=2)
    drawn = np.zeros(size, np.uint8)
    cv2.putText(drawn, "STAY HERE", (width // 5, height // 2), 0, height / 200, (1,), max(height // 96, 1))
    return clip.masked_fill(torch.from_numpy(drawn).bool(), 1.0).to(device)


def _on_record(owner: object, step: str) -> Measured | None:
    name = FILTER if isinstance(owner, TemporalFilter) else name_of(owner)
    figure = _record().get(name or "", {}).get(step)
    return None if figure is None else Measured(tuple((pixels, peak) for pixels, peak in figure))


@cache
def _record() -> dict[str, dict[str, list[tuple[float, float]]]]:
    path = results_folder().parent / "memory" / "steps.json"
    return json.loads(path.read_text())["steps"] if path.is_file() else {}
