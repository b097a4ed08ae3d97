"""Methods of interpolation to be measured: models, and the baselines that a user has without this project."""

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
    """A method of interpolation.

    kept    frames of one scene at a constant rate
    times   times of the new frames between two kept ones, in (0, 1)
    out     the new frames, [3, H, W] RGB each, interval by interval
    """

    def __call__(self, kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]: ...


def repeat(kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]:
    """Repeats the nearer frame, or the earlier one if both are equally near."""
    for first, second in itertools.pairwise(kept):
        yield from ((first if t <= Fraction(1, 2) else second).rgb for t in times)


def blend(kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]:
    """The mean of both neighbours weighted by time."""
    for first, second in itertools.pairwise(kept):
        yield from (torch.lerp(first.rgb, second.rgb, float(t)) for t in times)


def minterpolate(kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]:
    """FFmpeg's filter for motion-compensated interpolation with default settings, on the samples as decoded.

    The filter needs one frame more after the last interval; the last frame is repeated. Raises LookupError if this
    FFmpeg lacks the filter, if it cannot take the format of the frames, or if `times` are not equidistant.
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
    """A model as a method: it runs by `Interpolating`, as in a job, on frames at a constant rate."""

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model, self._device = model, device

    def __call__(self, kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]:
        run: Interpolating[Frame] = Interpolating(self._model, self._device)
        even = (frame.at(Fraction(number), Fraction(1)) for number, frame in enumerate(kept))
        for interval in run.over(even):
            if interval.is_whole:
                yield from interval.between(times)
