"""Pictures of the sampling positions of an interpolation model: the input pixels that determine one output pixel.

Source   Fig. 1 and 3 of the LS3D-Conv paper: the gradient of one output pixel with respect to the two input frames
         shows roughly how often each input pixel is sampled. In still regions it is large at few positions close to the
         output pixel, in moving regions at many and distant ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.errors import UsageError, VideoError
from refilm.models.contract import Interpolator
from refilm.models.table import MODELS, create_model, named
from refilm.stages.running import Interpolating, Interval
from refilm.stages.tiles import run_tiled
from refilm.tasks import TASKS
from refilm.video import Frame, frames

# Pixels are shown if their gradient is at least this share of the largest one. The share is small because the pixels
# that are sampled have much larger gradients than those that only determine where to sample, and these distinguish
# moving from still regions.
LEAST = 1e-5
DEFAULT = "vi-ls3d-small"  # it samples where it learned to
AROUND = 160  # pixels on each side of the output pixel that the model is given; gradients beyond are negligible
ZOOM = 8  # enlargement of the part around the pixel
RED, GREEN = (255, 40, 30), (60, 255, 90)


@dataclass(frozen=True)
class Sampling:
    """The numbers that belong to a picture of sampling positions.

    points          number of pixels shown, in both frames together
    distance        their mean distance from the output pixel, in pixels
    first, second   times of the two frames, in seconds; the new frame lies half-way between them
    """

    points: int
    distance: float
    first: Fraction
    second: Fraction


def explain(
    path: str | Path,
    seconds: float,
    x: int,
    y: int,
    out: str | Path,
    model: str | None = None,
    weights: str | Path = "default",
) -> Sampling:
    """Write a picture of the input pixels that determine one pixel of a new frame.

    path      the video
    seconds   the new frame lies half-way between the two frames around this time
    x, y      position of the pixel
    out       PNG: the two frames side by side in gray, with the input pixels in red; below them, the part in the green
              rectangle enlarged, with a green rectangle around the pixel
    model     name of an interpolation model; None: that of the weight file, or else vi-ls3d-small
    weights   "default" or a weight file

    Raises UsageError for another model, or a time or position outside the video; VideoError if the video cannot be read
    or the picture not be written; WeightsError as `create_model`.
    """
    found, file = named(model, weights)
    model, weights = found or DEFAULT, file or weights
    able = [name for name, row in MODELS.items() if TASKS[row.task].retimes]
    if model not in able:
        raise UsageError(f"{model!r} makes no new frames between two; take {', '.join(able[:-1])} or {able[-1]}")
    network: Any = create_model(model, weights=weights)
    interval = interval_at(Path(path), seconds, network)
    clip, second = interval.clip(), interval.second  # [3, window, H, W]
    assert second is not None
    height, width = clip.shape[-2:]
    if not (0 <= x < width and 0 <= y < height):
        raise UsageError(f"the place {x},{y} lies outside the picture of {width}x{height} pixels; count from 0")
    strength = gradient(network, clip, x, y)  # [2, H, W]
    chosen = strength >= LEAST * strength.max()
    down, across = (torch.arange(size, dtype=torch.float32) for size in (height, width))
    far = ((down[:, None] - y) ** 2 + (across - x) ** 2).sqrt()
    distance = float((far * chosen).sum() / chosen.sum())
    _write(Path(out), clip[:, _middle(network)], chosen, x, y)
    return Sampling(int(chosen.sum()), distance, interval.first.time, second.time)


def gradient(model: Interpolator, clip: Tensor, x: int, y: int) -> Tensor:
    """Gradient of one pixel of the frame half-way between two frames, with respect to these.

    clip   [3, window, H, W]   the model's input
    x, y   position of the pixel
    out    [2, H, W]           absolute gradients of the sum of the pixel's channels, summed over the input's channels
    """
    model.reset()
    multiple = model.size_multiple
    height, width = clip.shape[-2:]
    top, left = (max(place - AROUND, 0) // multiple * multiple for place in (y, x))
    part = clip[None, ..., top : y + AROUND, left : x + AROUND].clone().requires_grad_()
    new = run_tiled(lambda clip: model.between(clip, [Fraction(1, 2)]), part, reach=None, multiple=multiple)
    new[0, :, 0, y - top, x - left].sum().backward()
    assert part.grad is not None
    strength = torch.zeros(2, height, width)
    strength[:, top : y + AROUND, left : x + AROUND] = part.grad[0].abs().sum(0)[_middle(model)]
    return strength


def _middle(model: Interpolator) -> slice:
    """The indices of the two middle frames in the model's window, between which new frames lie."""
    return slice(model.window // 2 - 1, model.window // 2 + 1)


def interval_at(path: Path, seconds: float, model: Interpolator) -> Interval[Frame]:
    """The interval that contains a time. Raises UsageError if there is none, VideoError for a single frame."""
    begin = end = None
    for interval in Interpolating[Frame](model).over(frames(path)):
        first, second = interval.first, interval.second
        if second is None:
            break
        begin, end = first.time if begin is None else begin, second.time
        if first.time <= seconds < second.time:
            return interval
    if begin is None or end is None:
        raise VideoError(f"{path}: one frame only, and there is nothing between")
    raise UsageError(
        f"{path}: no two frames around {seconds:g} s; take a time from {float(begin):g} to {float(end):g} s"
    )


def _write(path: Path, pair: Tensor, chosen: Tensor, x: int, y: int) -> None:
    # in gray, so that red points stand out
    gray = pair.mean(0).mul(255).round().byte()[..., None].expand(-1, -1, -1, 3)
    red = torch.where(chosen[..., None], torch.tensor(RED, dtype=torch.uint8), gray).numpy()  # [2, H, W, 3]
    height, width = red.shape[1:3]
    part_height, part_width = -(-height // ZOOM), -(-width // ZOOM)
    top = min(max(y - part_height // 2, 0), height - part_height)
    left = min(max(x - part_width // 2, 0), width - part_width)
    rows = []
    for picture in red:
        part = picture[top : top + part_height, left : left + part_width]
        near = np.ascontiguousarray(part.repeat(ZOOM, 0).repeat(ZOOM, 1)[:height, :width])
        corner = (ZOOM * (x - left), ZOOM * (y - top))
        near = cv2.rectangle(near, corner, (corner[0] + ZOOM - 1, corner[1] + ZOOM - 1), GREEN)
        whole = cv2.rectangle(
            np.ascontiguousarray(picture), (left, top), (left + part_width - 1, top + part_height - 1), GREEN
        )
        rows.append(np.concatenate([whole, near]))
    if not cv2.imwrite(str(path), np.ascontiguousarray(np.concatenate(rows, axis=1)[..., ::-1])):
        raise VideoError(f"{path}: cannot be written; the folder must exist")
