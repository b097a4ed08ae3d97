"""Evaluation of interpolation: frames are left out, predicted, and compared with the real ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, TypeVar

import torch

from refilm.data.layouts import Footage
from refilm.errors import VideoError
from refilm.evaluation.flops import gflop
from refilm.evaluation.interpolators import BASELINES, Interpolator, ModelInterpolator
from refilm.evaluation.metrics import psnr_db, ssim, warp_errors
from refilm.evaluation.perceptual import Perceptual
from refilm.evaluation.pictures import Strip, write_strip
from refilm.evaluation.results import ClipFigures, mean
from refilm.evaluation.stopwatch import Stopwatch

T = TypeVar("T")


@dataclass(frozen=True)
class Interpolation:
    """A protocol: keep every `step`-th frame of a clip, predict the others, and compare these with the real ones.

    Clips must be single scenes with a constant frame rate: time stamps are not used. The frames after the last kept one
    are not measured.
    """

    name: str
    step: int
    further: tuple[str, ...] = ()  # figures of PERCEPTUAL that are measured as well, of the new frames

    task: ClassVar[str] = "interpolation"
    baselines: ClassVar[dict[str, Interpolator]] = BASELINES

    @property
    def times(self) -> tuple[Fraction, ...]:
        """The times of the left-out frames between two kept ones, which are at 0 and 1."""
        return tuple(Fraction(i, self.step) for i in range(1, self.step))

    @property
    def description(self) -> str:
        left_out = "odd frames from their even neighbours" if self.step == 2 else f"one frame in {self.step} is kept"
        return f"{left_out}; RGB, 8 bit, no border; mean over a clip's new frames, then over clips"

    def runs(self, frames: Iterable[T], intervals: int = 60) -> Iterator[list[T]]:
        """Cut a clip into runs of at most `intervals` intervals between kept frames, which bounds the memory.

        A run begins and ends with a kept frame; consecutive runs share one.
        """
        run: list[T] = []
        for frame in frames:
            run.append(frame)
            if len(run) == intervals * self.step + 1:
                yield run
                run = run[-1:]
        whole = (len(run) - 1) // self.step * self.step
        if whole > 0:
            yield run[: whole + 1]

    beside: ClassVar[None] = None  # strips show the neighbouring frames, and no baseline

    def thinned(self, every: int) -> Interpolation:
        """Raises ValueError: this protocol cannot be restricted to some of the frames."""
        raise ValueError(f"{self.name} measures every frame it can; leave out every={every}")

    def method(self, model: Any, device: torch.device) -> Interpolator:
        """A model (`contract.Interpolator`, already on the device) in the form that `measure` takes.

        Raises ValueError if it cannot make frames at these times.
        """
        if model.instants is not None and not set(self.times) <= set(model.instants):
            able = ", ".join(map(str, model.instants))
            raise ValueError(
                f"{self.name} asks for frames at {', '.join(map(str, self.times))}, and {model.name} makes "
                f"them at {able} alone"
            )
        return ModelInterpolator(model, device)

    def fitted(self, name: str, clips: Sequence[Footage]) -> tuple[Interpolator, None]:
        """The baseline of that name; there are no settings to choose from."""
        return self.baselines[name], None

    def gflop(self, interpolator: Interpolator, clip: Footage) -> float:
        """The operations for one new frame of the clip, see `flops.gflop`."""
        ends = next(self.runs(clip.frames()))[: self.step + 1 : self.step]
        return gflop(lambda: list(interpolator(ends, self.times))) / len(self.times)

    def measure(
        self, interpolator: Interpolator, clip: Footage, stopwatch: Stopwatch, strip: Strip | None = None
    ) -> ClipFigures:
        """The figures of a clip. Raises VideoError if it has no frame to predict.

        The strip shows one new frame: the frame before it, the real one, the result, the frame after it.
        """
        with Perceptual(self.further) as perceptual:
            figures = self._measured(interpolator, clip, stopwatch, strip, perceptual)
            return replace(figures, **perceptual.means())

    def _measured(
        self,
        interpolator: Interpolator,
        clip: Footage,
        stopwatch: Stopwatch,
        strip: Strip | None,
        perceptual: Perceptual,
    ) -> ClipFigures:
        psnr, structure = [], []
        errors: list[tuple[float, float]] = []
        size = (0, 0)
        for run in self.runs(clip.frames()):
            size = run[0].width, run[0].height
            kept = run[:: self.step]
            new = stopwatch.timed(interpolator(kept, self.times), group=len(self.times))
            before = real_before = run[0].rgb
            if not errors:
                perceptual.add(before, before, counts=False)
            for number, frame in enumerate(run[1:], start=1):
                real = frame.rgb
                result = real if number % self.step == 0 else next(new)
                if number % self.step:
                    psnr.append(psnr_db(result, real))
                    structure.append(ssim(result, real))
                    if strip is not None and number > len(run) // 2:
                        write_strip(strip.path, [run[number - 1].rgb, real, result, run[number + 1].rgb])
                        strip = None
                perceptual.add(result, real, counts=number % self.step != 0)
                errors.append(warp_errors(before, result, real_before, real))
                before, real_before = result, real
        if not psnr:
            raise VideoError(f"{clip.source}: {self.name} needs at least {self.step + 1} frames")
        warp, real_warp = map(mean, zip(*errors, strict=True))
        return ClipFigures(len(psnr), *size, mean(psnr), mean(structure), warp, real_warp)
