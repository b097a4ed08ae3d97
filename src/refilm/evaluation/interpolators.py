"""What fills the gaps: a model, or one of the plain ways a user has without this project."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor, nn

from refilm.layers.clips import places_around
from refilm.stages.running import run_tiled
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
    """Runs a model with `between` on each pair of neighbours and the frames beyond that it wants."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.device = model.to(device).eval(), device

    @torch.inference_mode()
    def __call__(self, kept: Sequence[Frame], times: Sequence[Fraction]) -> Iterator[Tensor]:
        between: Callable[[Tensor, Sequence[Fraction]], Tensor] = self.model.between  # type: ignore[assignment]
        multiple = int(getattr(self.model, "size_multiple", 1))
        window = int(self.model.window)  # type: ignore[arg-type]
        pictures: dict[int, Tensor] = {}
        for interval in range(len(kept) - 1):
            places = places_around(interval, window, len(kept))
            pictures = {p: pictures[p] if p in pictures else kept[p].rgb.clamp_(0, 1) for p in places}
            clip = torch.stack([pictures[p] for p in places], dim=1).to(self.device)  # [3, window, H, W]
            result = run_tiled(lambda tile: between(tile, times), clip[None], reach=None, multiple=multiple)
            yield from result[0].cpu().unbind(1)  # [3, len(times), H, W]
