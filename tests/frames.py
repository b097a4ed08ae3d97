"""Small frames for tests that need no file."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from refilm.video import Colour, Frame, PixelFormat

YUV420 = PixelFormat("yuv420p", "yuv", 8, 1, 1)


def gray_frame(
    level: int, time: Fraction, duration: Fraction = Fraction(1, 25), cut: bool = False, size: tuple[int, int] = (8, 12)
) -> Frame:
    """A frame of one luma level, so that it tells which picture it is."""
    planes = tuple(
        np.full(shape, level if n == 0 else 128, np.uint8) for n, shape in enumerate(YUV420.plane_shapes(*size))
    )
    return Frame(planes, YUV420, Colour(), time, duration, starts_scene=cut)


def stream(count: int, rate: Fraction = Fraction(25), cuts: Iterable[int] = ()) -> list[Frame]:
    """Frames of luma 40, 41, ... at a constant rate."""
    cuts = set(cuts)
    return [gray_frame(40 + n % 150, n / rate, 1 / rate, n in cuts) for n in range(count)]


def level(frame: Frame) -> int:
    assert np.ptp(frame.planes[0]) == 0
    return int(frame.planes[0][0, 0])
