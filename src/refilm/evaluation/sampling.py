"""Where an interpolation model looks: the input pixels that one pixel of the new frame is made of, as a picture.

Source   Fig. 1 and 3 of the LS3D-Conv paper: the gradient of one output pixel with respect to the two input frames says
         about how often each place is sampled. Few places, and near ones, where nothing moves; many, and far ones,
         where much does.
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
from refilm.models.table import MODELS, create_model
from refilm.stages.running import Interpolating, Interval
from refilm.stages.tiles import run_tiled
from refilm.video import Frame, frames

# The share of the strongest gradient from which a place is shown. A sampled pixel outweighs by far the features that
# decided where to sample it, and it is these that tell motion from stillness.
LEAST = 1e-5
AROUND = 160  # pixels on each side of the place that the model is given; it looks no further in practice
ZOOM = 8  # of the part around the pixel
RED, GREEN = (255, 40, 30), (60, 255, 90)


@dataclass(frozen=True)
class Sampling:
    """What a picture shows, in numbers.

    points     how many places act on the pixel with LEAST of the strongest's gradient or more, in both frames together
    distance   their mean distance from the pixel, pixels
    first, second   times of the two frames; the new one lies half-way
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
    model: str = "vi-ls3d-small",
    weights: str | Path = "default",
) -> Sampling:
    """Write a picture of where a model looks to make one pixel, half-way between the two frames around a time.

    out   PNG: the two frames side by side, the places as red points; below, the part in the green frame enlarged, with
          a green frame around the pixel
    Raises UsageError for a model, a time or a place that is not there, VideoError for a file that cannot be read.
    """
    able = [name for name, row in MODELS.items() if row.task == "interpolation"]
    if model not in able:
        raise UsageError(f"{model!r} makes no new frames between two; take {', '.join(able[:-1])} or {able[-1]}")
    network: Any = create_model(model, weights=weights)
    interval = _interval(Path(path), seconds, network)
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
    """How strongly each pixel of two frames acts on one of the frame half-way between.

    clip   [3, window, H, W], the two and those beyond them that the model wants
    out    [2, H, W]: absolute gradients of the new pixel's three channels' sum, summed over the input's channels
    """
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
    """The places in a window of the two frames that new ones lie between."""
    return slice(model.window // 2 - 1, model.window // 2 + 1)


def _interval(path: Path, seconds: float, model: Interpolator) -> Interval[Frame]:
    """From the frame that is shown at a time to the next one."""
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
    # gray, so that red is seen
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
