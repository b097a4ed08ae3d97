"""The stage that interpolates frames, at exact times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from refilm.errors import UsageError
from refilm.models.contract import Interpolator
from refilm.stages.demand import Demand, measured
from refilm.stages.findings import SelfCheck
from refilm.stages.running import Interpolating, Interval
from refilm.stages.stage import StreamShape
from refilm.video import Frame

# The clock of MP4 has 32 bits, and a finer time base is refused. Times are then rounded to microseconds.
_FINEST_CLOCK = 2**31 - 1


class Interpolate:
    """Multiplies the frame rate by `times`, or resamples to the frame rate `fps`.

    With `times`, every source frame keeps its time, and times - 1 frames are added in each interval between two. With
    `fps`, frames lie on a grid of times that begins at the first frame and ends with the last one; a source frame is
    kept if its time lies on the grid. At a scene cut and at the end, the nearer frame is repeated instead of
    interpolating. A model that redraws its inputs also replaces the source's frames, except in scenes of a single
    frame.

    start_time   time of the first source frame, in seconds: where the grid begins
    tile         see `run_tiled`

    Raises UsageError unless exactly one of `times` and `fps` is given, and is positive.
    """

    keeps_rate = False

    def __init__(
        self,
        model: Interpolator,
        times: int | None = None,
        fps: Fraction | None = None,
        start_time: Fraction = Fraction(0),
        device: torch.device | str = "cpu",
        tile: int | None = None,
    ) -> None:
        if (times is None) == (fps is None):
            raise UsageError("wanted one of times and fps, got " + ("neither" if times is None else "both"))
        if times is not None and times < 1:
            raise UsageError(f"times must be at least 1, got {times}")
        if fps is not None and fps <= 0:
            raise UsageError(f"fps must be above 0, got {fps}")
        self._model, self._times, self._fps = model, times, fps
        self._start, self._device = start_time, device
        self._run: Interpolating[Frame] = Interpolating(model, device, tile)
        self.past, self.future = self._run.past, self._run.future
        self.check = SelfCheck()

    @property
    def findings(self) -> dict[str, SelfCheck]:
        return {"interpolate": self.check}

    def shape(self, source: StreamShape) -> StreamShape:
        if self._times is not None:
            time_base, rate = source.time_base / self._times, source.frame_rate * self._times
        else:
            assert self._fps is not None
            ticks = math.lcm(source.start_time.denominator, self._fps.numerator)
            time_base, rate = Fraction(1, ticks), self._fps
        if time_base.denominator > _FINEST_CLOCK:
            time_base = Fraction(1, 1_000_000)
        return replace(source, frame_rate=rate, time_base=time_base)

    def demands(self, source: StreamShape) -> list[Demand]:
        model, pixels, device = self._model, source.width * source.height, torch.device(self._device)
        rate = self.shape(source).frame_rate
        count = max(1, math.ceil(rate / source.frame_rate) - (self._times is not None))  # new frames of an interval
        # measured with at most 3, since each further one adds only its own picture
        instants = [Fraction(k + 1, min(count, 3) + 1) for k in range(min(count, 3))]
        model.reset()  # of what it has seen, in pictures of another size

        def clip(width: int, height: int) -> Tensor:
            return torch.rand(1, 3, model.window, height, width, device=device)

        @torch.inference_mode()
        def between(width: int, height: int) -> None:
            model.between(clip(width, height), instants)

        @torch.inference_mode()
        def before_bands(width: int, height: int) -> None:
            model.before_bands(clip(width, height), instants)

        size = (source.width, source.height, model.size_multiple, device)
        per_pixel, band = measured(between, *size), 0.0
        band_pixels = model.band_pixels(source.width)
        if band_pixels is not None and band_pixels < pixels:
            of_picture = measured(before_bands, *size)
            band = (per_pixel - of_picture) * band_pixels
            per_pixel = of_picture
        return [
            Demand(
                name="interpolate",
                # source frames, as decoded and as RGB in single precision
                held=max(model.window, 3) * (3 + 12) * pixels,
                # the window in one tensor, and the new frames
                whole=12 * (model.window + count) * pixels + band,
                per_pixel=per_pixel + 24 * (count - len(instants)),
                width=source.width,
                height=source.height,
                reach=model.reach,
                task=model.task,
            )
        ]

    def push(self, frame: Frame) -> Iterator[Frame]:
        for interval in self._run.push(frame):
            yield from self._shown(interval)
        if self.check.samples == 0 and not self._model.recurrent:  # whose state it would disturb
            self._check_itself()

    def flush(self) -> Iterator[Frame]:
        for interval in self._run.flush():
            yield from self._shown(interval)

    def _shown(self, interval: Interval[Frame]) -> Iterator[Frame]:
        """The output frames of an interval: from the time of its first frame up to that of the next, exclusive."""
        first, second = interval.first, interval.second
        length = first.duration if second is None else second.time - first.time
        if self._fps is not None:
            step, instants = 1 / self._fps, self._grid(first.time, first.time + length)
        elif second is None:
            step, instants = length, [first.time]
        else:
            step = length / self._times  # type: ignore[operator]  # one of times and fps is given
            instants = [first.time + k * step for k in range(self._times)]  # type: ignore[arg-type]
        fractions = [(instant - first.time) / length if length else Fraction(0) for instant in instants]
        redraws = self._model.redraws_inputs
        drawn = [f for f in fractions if interval.is_whole and (f > 0 or redraws)]
        pictures = iter(interval.between(drawn) if drawn else ())
        for instant, fraction in zip(instants, fractions, strict=True):
            if fraction == 0:
                own = first.at(instant, step)
                if redraws and (picture := next(pictures) if interval.is_whole else interval.redrawn()) is not None:
                    own = replace(own.with_rgb(picture), origin="restored")
                yield own
            elif interval.is_whole:
                new = first.with_rgb(next(pictures)).at(instant, step)
                yield replace(new, starts_scene=False, origin="new")
            else:
                nearer = first if second is None or fraction < Fraction(1, 2) else second
                yield replace(nearer.at(instant, step), starts_scene=False, origin="repeated")

    def _grid(self, begin: Fraction, end: Fraction) -> list[Fraction]:
        """The times of the grid in [begin, end)."""
        assert self._fps is not None
        first = math.ceil((begin - self._start) * self._fps)
        return [self._start + n / self._fps for n in range(first, math.ceil((end - self._start) * self._fps))]

    def _check_itself(self) -> None:
        """Predict the middle one of three real frames from the other two, and keep the errors in `check`."""
        latest = self._run.latest[-3:]
        if len(latest) < 3 or any(frame.starts_scene for frame, _ in latest[-2:]):
            return
        times = [frame.time for frame, _ in latest]
        before, middle, after = (picture() for _, picture in latest)
        fraction = (times[1] - times[0]) / (times[2] - times[0])
        # The frames before and after this pair are only half as far from it as its frames are from each other. They are
        # not used, and the pair's own frames are repeated instead.
        half = self._model.window // 2
        predicted = self._run.predict(torch.stack([before] * half + [after] * half, dim=1), [fraction])[0]
        blend = torch.lerp(before, after, float(fraction))
        errors = [float((picture - middle).square().mean()) for picture in (predicted, blend, before)]
        self.check = SelfCheck(1, *errors)
