"""Where an interpolation model looks: the input pixels that one pixel of the new frame is made of, as a picture.

Source   Fig. 1 and 3 of the LS3D-Conv paper: the gradient of one output pixel with respect to the two input frames says
         about how often each place is sampled. Few places, and near ones, where nothing moves; many, and far ones,
         where much does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.errors import UsageError, VideoError
from refilm.layers.clips import places_around
from refilm.models.table import MODELS, create_model
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
    network = create_model(model, weights=weights)
    seen = _around(Path(path), seconds, int(network.window))  # type: ignore[arg-type]
    clip = torch.stack([frame.rgb.clamp_(0, 1) for frame in seen], dim=1)  # [3, window, H, W]
    height, width = clip.shape[-2:]
    if not (0 <= x < width and 0 <= y < height):
        raise UsageError(f"the place {x},{y} lies outside the picture of {width}x{height} pixels; count from 0")
    strength = gradient(network, clip, x, y)  # [2, H, W]
    chosen = strength >= LEAST * strength.max()
    down, across = (torch.arange(size, dtype=torch.float32) for size in (height, width))
    far = ((down[:, None] - y) ** 2 + (across - x) ** 2).sqrt()
    distance = float((far * chosen).sum() / chosen.sum())
    first, second = _middle(len(seen))
    _write(Path(out), clip[:, first : second + 1], chosen, x, y)
    return Sampling(int(chosen.sum()), distance, seen[first].time, seen[second].time)


def gradient(model: Any, clip: Tensor, x: int, y: int) -> Tensor:
    """How strongly each pixel of two frames acts on one of the frame half-way between.

    clip   [3, window, H, W], the two and those beyond them that the model wants
    out    [2, H, W]: absolute gradients of the new pixel's three channels' sum, summed over the input's channels
    """
    multiple = int(getattr(model, "size_multiple", 1))
    height, width = clip.shape[-2:]
    top, left = (max(place - AROUND, 0) // multiple * multiple for place in (y, x))
    part = clip[..., top : y + AROUND, left : x + AROUND]
    padding = (0, -part.shape[-1] % multiple, 0, -part.shape[-2] % multiple)
    padded = torch.nn.functional.pad(part, padding, mode="replicate")[None].requires_grad_()
    model.between(padded, [Fraction(1, 2)])[0, :, 0, y - top, x - left].sum().backward()
    assert padded.grad is not None
    acting = padded.grad[0].abs().sum(0)[_middle(clip.shape[1]), : part.shape[-2], : part.shape[-1]]
    strength = torch.zeros(2, height, width)
    strength[:, top : y + AROUND, left : x + AROUND] = acting
    return strength


def _middle(window: int) -> list[int]:
    """The places of the two frames that new ones lie between."""
    return [window // 2 - 1, window // 2]


def _around(path: Path, seconds: float, window: int) -> list[Frame]:
    """The frame shown at a time and the next one, with the frames beyond; the nearest stands in where there is none."""
    begin = end = None
    film = frames(path)
    held: deque[Frame] = deque(maxlen=window // 2 + 1)
    for frame in film:
        held.append(frame)
        if len(held) < 2:
            continue
        begin, end = held[-2].time if begin is None else begin, frame.time
        if held[-2].time <= seconds < frame.time:
            found = [*held, *islice(film, window // 2 - 1)]
            return [found[place] for place in places_around(len(held) - 2, window, len(found))]
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
