"""VMAF and LPIPS of a clip that is given as RGB pictures: figures that agree with viewers better than PSNR does."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from statistics import fmean
from typing import Any

from torch import Tensor

from refilm.models.lpips import lpips
from refilm.video import Frame
from refilm.video.colour import Colour
from refilm.video.pixel_format import PixelFormat
from refilm.video.rgb import from_rgb
from refilm.video.vmaf import Vmaf

PERCEPTUAL = "vmaf", "lpips"
_YUV444P = PixelFormat("yuv444p", "yuv", 8)


class Perceptual:
    """Takes all frames of a clip in their order, and gives the means over those that count.

    asked   which figures are measured, of PERCEPTUAL

    A context manager. Raises UsageError if VMAF is asked for and there is no FFmpeg with libvmaf.
    """

    def __init__(self, asked: Collection[str]) -> None:
        self._vmaf = Vmaf() if "vmaf" in asked else None
        self._within: AbstractContextManager[Any] = self._vmaf or nullcontext()
        self._counts: list[bool] = []
        self._lpips: list[float] | None = [] if "lpips" in asked else None

    def __enter__(self) -> Perceptual:
        self._within.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._within.__exit__(*error)

    def add(self, result: Tensor, truth: Tensor, counts: bool = True) -> None:
        """A frame and the real one, RGB in [0, 1], [3, H, W] each."""
        if self._vmaf is not None:
            self._vmaf.add(_frame(result), _frame(truth))
            self._counts.append(counts)
        if self._lpips is not None and counts:
            self._lpips.append(lpips(result.clamp(0, 1).cpu(), truth.cpu()))

    def means(self) -> dict[str, Any]:
        """The means of the figures that were asked for, as fields of `results.ClipFigures`."""
        means: dict[str, Any] = {}
        if self._vmaf is not None:
            scores = zip(self._vmaf.scores(), self._counts, strict=True)
            means["vmaf"] = fmean(score for score, counts in scores if counts)
        if self._lpips is not None:
            means["lpips"] = fmean(self._lpips)
        return means


def _frame(picture: Tensor) -> Frame:
    """RGB as a frame of 8 bit, BT.709, limited range, as in a file."""
    planes = from_rgb(picture.clamp(0, 1).cpu(), _YUV444P, Colour())
    return Frame(planes, _YUV444P, Colour(), Fraction(0), Fraction(1, 25))
