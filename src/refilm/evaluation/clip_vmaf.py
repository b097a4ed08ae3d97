"""VMAF of a clip that is given as RGB pictures."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from statistics import fmean
from typing import Any

from torch import Tensor

from refilm.video import Frame
from refilm.video.colour import Colour
from refilm.video.pixel_format import PixelFormat
from refilm.video.rgb import from_rgb
from refilm.video.vmaf import Vmaf

_YUV444P = PixelFormat("yuv444p", "yuv", 8)


class ClipVmaf:
    """Takes all frames of a clip in their order, and gives the mean VMAF of those that count; None if not `asked`.

    A context manager. Raises UsageError if there is no FFmpeg with libvmaf.
    """

    def __init__(self, asked: bool) -> None:
        self._vmaf = Vmaf() if asked else None
        self._within: AbstractContextManager[Any] = self._vmaf or nullcontext()
        self._counts: list[bool] = []

    def __enter__(self) -> ClipVmaf:
        self._within.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._within.__exit__(*error)

    def add(self, result: Tensor, truth: Tensor, counts: bool = True) -> None:
        """A frame and the real one, RGB in [0, 1], [3, H, W] each."""
        if self._vmaf is not None:
            self._vmaf.add(_frame(result), _frame(truth))
            self._counts.append(counts)

    def mean(self) -> float | None:
        if self._vmaf is None:
            return None
        scores = zip(self._vmaf.scores(), self._counts, strict=True)
        return fmean(score for score, counts in scores if counts)


def _frame(picture: Tensor) -> Frame:
    """RGB as a frame of 8 bit, BT.709, limited range, as in a file."""
    planes = from_rgb(picture.clamp(0, 1).cpu(), _YUV444P, Colour())
    return Frame(planes, _YUV444P, Colour(), Fraction(0), Fraction(1, 25))
