"""Which frames of a stretch of film a recogniser sees, and how they are made small. See `contract.Sampling`.

Jobs, evaluation and `explain` all show recognisers films by these functions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.models.contract import Sampling
from refilm.video import Colour, Frame, PixelFormat

_CODES = PixelFormat("gbrp", "rgb", 8)
_FULL_RANGE = Colour(matrix="rgb", range="pc", transfer="iec61966-2-1")


class SmallFrame(Frame):
    """A frame as a recogniser sees it: upright, in RGB of 8 bits, and of the size of its `Sampling`."""


def reduced(frame: Frame, height: int, width: int, rotation: int = 0) -> SmallFrame:
    """A frame in the size of a recogniser, whatever its own shape; its time stays.

    rotation   degrees counter-clockwise by which players turn the picture, see VideoInfo

    Its planes are reduced first and then converted to RGB, which is faster.
    """
    if isinstance(frame, SmallFrame):
        return frame
    turns = round(rotation / 90) % 4
    size = (height, width) if turns % 2 else (width, height)
    planes = tuple(np.rot90(_resized(plane, size), turns).copy() for plane in frame.planes)
    picture = replace(frame, planes=planes, format=replace(frame.format, chroma_w=0, chroma_h=0)).rgb
    red, green, blue = picture.mul_(255).round_().clamp_(0, 255).byte().numpy()
    return SmallFrame((green, blue, red), _CODES, _FULL_RANGE, frame.time, frame.duration, frame.starts_scene)


def _resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    is_smaller = size[0] <= plane.shape[1] and size[1] <= plane.shape[0]
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)


def sample_times(sampling: Sampling, begin: Fraction, end: Fraction) -> list[Fraction]:
    """The times of the frames of a clip, in seconds, snippet after snippet; some may lie outside of the stretch.

    begin, end   of the stretch, in seconds
    """
    part = (end - begin) / sampling.segments
    middles = (begin + part * (2 * number + 1) / 2 for number in range(sampling.segments))
    around = [Fraction(2 * place - sampling.snippet + 1, 2) / sampling.rate for place in range(sampling.snippet)]
    return [middle + offset for middle in middles for offset in around]


def chosen(sampling: Sampling, times: Sequence[Fraction], begin: Fraction, end: Fraction) -> list[int]:
    """The indices of the frames of a clip: those that are shown at the wanted times; the nearest of the stretch, where
    these lie outside of it.

    times        when each frame of the film begins to be shown, rising, in seconds
    begin, end   of the stretch, in seconds
    """
    first = max(bisect_right(times, begin) - 1, 0)
    last = max(bisect_right(times, end) - 1, first)
    if last > first and times[last] == end:  # it is shown after the stretch
        last -= 1
    return [min(max(bisect_right(times, time) - 1, first), last) for time in sample_times(sampling, begin, end)]


def clip_of(frames: Sequence[SmallFrame]) -> Tensor:
    """Frames as the input of a recogniser, [3, T, H, W], RGB in [0, 1]."""
    pictures = (np.stack([frame.planes[channel] for channel in (2, 0, 1)]) for frame in frames)
    return torch.from_numpy(np.stack(list(pictures), axis=1)).float().div_(255)
