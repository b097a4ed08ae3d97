"""Sheets that show what a recogniser is shown of a damaged clip: a column for each method, and for the truth.

From top to bottom: a crop of a frame around what moves most; the temporal profile, which is one row of the picture over
time, downwards, where flicker shows as stripes; and the optical flow to the next frame, whose direction is the hue and
whose length the brightness, on one scale for all columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.evaluation.metrics import as_shown
from refilm.evaluation.plots import write_picture, write_text
from refilm.evaluation.restorers import Restorer
from refilm.layers.optical_flow import estimate_flows

LONGEST = 48  # frames of a profile, from the middle of the clip
_CROP = 3  # a crop is so many times smaller than the frame along each side, and is enlarged as much
_PROFILE_ROWS = 2  # pixels of a sheet for each frame
_TITLE, _GAP = 20, 4
_LEAST_FLOW = 1.0  # pixels: no flow is shown as brighter than if the longest were this


class Looked(NamedTuple):
    """What a sheet has of one clip.

    crop      [3, H / 3, W / 3]
    profile   [3, T, W]
    flow      [2, H, W], (dx, dy) in pixels
    """

    crop: Tensor
    profile: Tensor
    flow: Tensor


def write_sheet(path: Path, methods: Mapping[str, Restorer], truth_u8: Tensor, spoilt: Tensor) -> None:
    """Write a sheet as PNG. Folders are created.

    methods    by their names
    truth_u8   [T, 3, H, W]
    spoilt     [T, 3, h, w], RGB, nominal range [0, 1]
    """
    first = max(0, (len(truth_u8) - LONGEST) // 2)
    places = range(first, min(first + LONGEST, len(truth_u8)))
    truth = truth_u8[places.start : places.stop].float() / 255
    y, x = liveliest(truth)
    looked = {name: _look(list(method(spoilt, places)), y, x) for name, method in methods.items()}
    looked["truth"] = _look(list(truth), y, x)
    largest = max(float(looked["truth"].flow.norm(dim=0).quantile(0.99)), _LEAST_FLOW)
    write_picture(path, np.concatenate([_column(name, each, largest) for name, each in looked.items()], axis=1))


def liveliest(frames: Tensor) -> tuple[int, int]:
    """The place (y, x) around which a clip changes most. [T, 3, H, W]"""
    changes = frames.diff(dim=0).abs().mean(dim=(0, 1)) if len(frames) > 1 else frames.new_zeros(frames.shape[2:])
    blurred = cv2.blur(changes.numpy(), (15, 15))
    y, x = np.unravel_index(int(blurred.argmax()), blurred.shape)
    return int(y), int(x)


def temporal_profile(frames: Sequence[Tensor], row: int) -> Tensor:
    """One row over time. T frames [3, H, W] -> [3, T, W]"""
    return torch.stack([frame[:, row] for frame in frames], dim=1)


def flow_picture(flow: Tensor, largest: float) -> np.ndarray:
    """[2, H, W], (dx, dy) in pixels -> [H, W, 3], blue, green, red; `largest` and longer ones are brightest."""
    dx, dy = flow.double().numpy()
    hue = (np.degrees(np.arctan2(dy, dx)) % 360 / 2).astype(np.uint8)  # OpenCV has half degrees
    value = np.clip(np.hypot(dx, dy) / largest, 0, 1) * 255
    hsv = np.stack([hue, np.full_like(hue, 255), value.astype(np.uint8)], axis=-1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))


def _look(frames: Sequence[Tensor], y: int, x: int) -> Looked:
    height, width = frames[0].shape[1:]
    tall, wide = height // _CROP, width // _CROP
    top = min(max(y - tall // 2, 0), height - tall)
    left = min(max(x - wide // 2, 0), width - wide)
    middle = len(frames) // 2
    pair = torch.stack([as_shown(frames[max(middle - 1, 0)]), as_shown(frames[middle])])[:, None]
    flow = estimate_flows(pair, refinement=5)[0, 0]
    return Looked(frames[middle][:, top : top + tall, left : left + wide], temporal_profile(frames, y), flow)


def _column(name: str, looked: Looked, largest: float) -> np.ndarray:
    width = looked.flow.shape[2]
    title = np.full((_TITLE, width, 3), 255, np.uint8)
    write_text(title, name, (2, _TITLE - 6), 0.38)
    crop = _codes(looked.crop).repeat(_CROP, 0).repeat(_CROP, 1)
    profile = _codes(looked.profile).repeat(_PROFILE_ROWS, 0)
    parts = [title]
    for part in (crop, profile, flow_picture(looked.flow, largest)):
        padded = np.full((part.shape[0] + _GAP, width, 3), 255, np.uint8)  # a crop may be a pixel or two narrower
        padded[: part.shape[0], : part.shape[1]] = part
        parts.append(padded)
    column = np.concatenate(parts)
    return np.concatenate([column, np.full((column.shape[0], _GAP, 3), 255, np.uint8)], axis=1)


def _codes(picture: Tensor) -> np.ndarray:
    """[3, H, W] in [0, 1] -> [H, W, 3], blue, green, red"""
    return np.ascontiguousarray(as_shown(picture).mul(255).round().byte().permute(1, 2, 0).numpy()[..., ::-1])
