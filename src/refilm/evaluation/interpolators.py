"""What fills the gaps: a model, or one of the plain ways a user has without this project."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from refilm.models.contract import Interpolator as Model
from refilm.stages.running import Interpolating
from refilm.video import Frame
from refilm.video.filters import filtered, is_in_pyav


class Interpolator(Protocol):
    """Kept frames of one scene, and times in (0, 1) -> the new frames of each gap in turn, [3, H, W] RGB each."""

    def __call__(self, kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]: ...


def repeat(kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]:
    """The nearer frame again; the earlier one where both are equally near."""
    for first, second in itertools.pairwise(kept):
        yield from ((first if t <= Fraction(1, 2) else second).rgb for t in times)


def blend(kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]:
    """The mean of both neighbours, weighted by time."""
    for first, second in itertools.pairwise(kept):
        yield from (torch.lerp(first.rgb, second.rgb, float(t)) for t in times)


def minterpolate(kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]:
    """FFmpeg's motion-compensated filter with its default settings, fed the samples as they were decoded.

    The filter wants one frame beyond the last gap; the last frame stands in for it.
    Raises LookupError where this FFmpeg lacks the filter or the filter cannot take the frames' format.
    """
    like, step = kept[0], len(times) + 1
    if not is_in_pyav("minterpolate"):
        raise LookupError("this FFmpeg is built without minterpolate")
    if like.format.bits != 8 or like.format.kind not in ("yuv", "gray"):
        raise LookupError(f"minterpolate takes 8-bit YUV, not {like.format.name}")
    if list(times) != [Fraction(i, step) for i in range(1, step)]:
        raise LookupError("minterpolate gives equidistant frames only")
    fed = (frame.at(Fraction(second), Fraction(1)) for second, frame in enumerate((*kept, kept[-1])))
    for frame in filtered(fed, "minterpolate", f"fps={step}"):
        number = round(frame.time * step)
        if number % step and number < (len(kept) - 1) * step:
            yield frame.rgb


BASELINES: dict[str, Interpolator] = {"frame-repeat": repeat, "frame-blend": blend, "minterpolate": minterpolate}


class ModelInterpolator:
    """Runs a model as a job does, on kept frames at a constant rate."""

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model, self._device = model, device

    def __call__(self, kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]:
        run: Interpolating[Frame] = Interpolating(self._model, self._device)
        even = (frame.at(Fraction(number), Fraction(1)) for number, frame in enumerate(kept))
        for interval in run.over(even):
            if interval.is_whole:
                yield from interval.between(times)
