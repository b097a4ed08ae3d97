"""New frames between the ones that are there, at exact times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from refilm.errors import UsageError
from refilm.models.vi_ls3d_flow import VILS3DFlow
from refilm.stages.demand import Demand, measured
from refilm.stages.running import run_tiled
from refilm.stages.stage import StreamShape
from refilm.video import Frame

# How much neighbouring steps in time may differ for a frame beyond a pair to tell of its motion: a clock that counts in
# milliseconds makes 60 frames a second come 16 and 17 apart.
_UNEVEN = 0.15

# MP4's clock counts in 32 bits; a finer one is refused by the container, so times are then rounded to this.
_FINEST_CLOCK = 2**31 - 1


class Interpolator(Protocol):
    """What the stage asks of a model; see refilm.models."""

    window: int  # frames it wants, an even number
    reach: int | None
    size_multiple: int

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """[N, C, window, H, W], times in (0, 1) between the two in the middle -> [N, C, len(times), H, W]"""
        ...


@dataclass(frozen=True)
class SelfCheck:
    """How well frames of this very film are predicted from their neighbours: summed squared errors and samples."""

    samples: int = 0
    model: float = 0.0
    blend: float = 0.0
    repeat: float = 0.0


class Interpolate:
    """Keeps every frame at its time and adds N - 1 between each two (`times`), or resamples on a grid (`fps`).

    With `fps` the grid begins at the first frame and runs to the end of the last; a source frame appears where its time
    lies on the grid. Nothing is blended across a scene cut: the nearer frame is shown again instead. A model that wants
    frames beyond the two is shown the nearer of the two again across a cut, an end, or a step in time of other length.
    """

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
        self._start, self._device, self._tile = start_time, device, tile
        self._beyond = model.window // 2 - 1
        self.past, self.future = self._beyond, 1 + self._beyond
        self.check = SelfCheck()
        self._held: list[tuple[Frame, Tensor | None]] = []  # RGB once it was needed
        self._next = 0  # the place in `_held` of the frame that the next interval begins with

    @property
    def findings(self) -> dict[str, float]:
        return {f"check {name}": value for name, value in asdict(self.check).items()}

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
        pixels = source.width * source.height
        rate = self.shape(source).frame_rate
        count = max(1, math.ceil(rate / source.frame_rate) - (self._times is not None))  # new frames of an interval
        # further ones cost their own pictures only
        instants = [Fraction(k + 1, min(count, 3) + 1) for k in range(min(count, 3))]

        model = self._model

        def clip(width: int, height: int) -> Tensor:
            return torch.rand(1, 3, model.window, height, width, device=self._device)

        @torch.inference_mode()
        def between(width: int, height: int) -> None:
            model.between(clip(width, height), instants)

        @torch.inference_mode()
        def candidates(width: int, height: int) -> None:
            assert isinstance(model, VILS3DFlow)
            deque(model.candidates(clip(width, height), instants), maxlen=0)

        size = (source.width, source.height, model.size_multiple, torch.device(self._device))
        per_pixel, band = measured(between, *size), 0.0
        if isinstance(model, VILS3DFlow) and model.band_pixels(source.width) < pixels:
            # the network sees a band at a time; only what comes before it grows with the picture
            of_picture = measured(candidates, *size)
            band = (per_pixel - of_picture) * model.band_pixels(source.width)
            per_pixel = of_picture
        return [
            Demand(
                name="interpolate",
                # frames as they came, and as RGB in single precision
                held=max(model.window, 3) * (3 + 12) * pixels,
                # the window in one tensor, and the new ones
                whole=12 * (model.window + count) * pixels + band,
                per_pixel=per_pixel + 24 * (count - len(instants)),
                width=source.width,
                height=source.height,
                reach=self._model.reach,
            )
        ]

    def push(self, frame: Frame) -> Iterator[Frame]:
        self._held.append((frame, None))
        if len(self._held) > 2 and self.check.samples == 0:
            self._check_itself()
        if len(self._held) - self._next > 1 + self._beyond:
            yield from self._next_interval()

    def flush(self) -> Iterator[Frame]:
        while self._next < len(self._held) - 1:
            yield from self._next_interval()
        if self._held:
            last = self._held[-1][0]
            if self._times is not None:
                yield last
            else:
                yield from (self._shown_at(last, time) for time in self._grid(last.time, last.time + last.duration))
        self._held, self._next = [], 0

    def _next_interval(self) -> Iterator[Frame]:
        """All output frames from the next held one's time up to that of the one after it."""
        yield from self._interval(self._next)
        if self._next == max(self._beyond, 1):  # the model wants so many frames before it, its check one
            del self._held[0]
        else:
            self._next += 1

    def _interval(self, place: int) -> Iterator[Frame]:
        first, second = self._held[place][0], self._held[place + 1][0]
        length = second.time - first.time
        if self._times is not None:
            step = length / self._times
            instants = [first.time + k * step for k in range(self._times)]
        else:
            step, instants = self._step, list(self._grid(first.time, second.time))
        fractions = [(instant - first.time) / length for instant in instants]
        inner = [fraction for fraction in fractions if fraction > 0]
        pictures = iter(() if second.starts_scene or not inner else self._between(place, inner))
        for instant, fraction in zip(instants, fractions, strict=True):
            if fraction == 0:
                yield first.at(instant, step)
            elif second.starts_scene:
                nearer = first if fraction < Fraction(1, 2) else second
                yield replace(nearer, time=instant, duration=step, starts_scene=False, origin="repeated")
            else:
                yield replace(
                    first.with_rgb(next(pictures)),
                    time=instant,
                    duration=step,
                    starts_scene=False,
                    origin="new",
                )

    @property
    def _step(self) -> Fraction:
        assert self._fps is not None
        return 1 / self._fps

    def _grid(self, begin: Fraction, end: Fraction) -> Iterator[Fraction]:
        """Grid times in [begin, end)."""
        assert self._fps is not None
        number = math.ceil((begin - self._start) * self._fps)
        while (time := self._start + number * self._step) < end:
            yield time
            number += 1

    def _shown_at(self, frame: Frame, time: Fraction) -> Frame:
        return replace(frame, time=time, duration=self._step, origin=frame.origin if time == frame.time else "repeated")

    def _rgb(self, place: int) -> Tensor:
        frame, rgb = self._held[place]
        if rgb is None:
            rgb = frame.rgb  # not clamped: codes beyond white stay what they are, as in the frames beside the new one
            self._held[place] = (frame, rgb)
        return rgb

    def _between(self, place: int, fractions: list[Fraction]) -> list[Tensor]:
        """The new pictures of the interval that begins with the frame held at `place`."""
        first, last = place, place + 1
        while first > place - self._beyond and first > 0 and self._goes_on(place, first - 1):
            first -= 1
        while last < place + 1 + self._beyond and last + 1 < len(self._held) and self._goes_on(place, last):
            last += 1
        places = range(place - self._beyond, place + 2 + self._beyond)
        return self._predict(torch.stack([self._rgb(min(max(p, first), last)) for p in places], dim=1), fractions)

    def _goes_on(self, place: int, other: int) -> bool:
        """Whether the interval from the frame held at `other` is of the same scene and length as `place`'s."""
        (before, after), (first, second) = ([frame for frame, _ in self._held[p : p + 2]] for p in (other, place))
        uneven = (after.time - before.time) / (second.time - first.time) - 1
        return not after.starts_scene and abs(uneven) <= _UNEVEN

    def _predict(self, clip: Tensor, fractions: list[Fraction]) -> list[Tensor]:
        """[3, window, H, W] -> pictures [3, H, W], one for each fraction of the interval."""
        with torch.inference_mode():
            result = run_tiled(
                lambda tile: self._model.between(tile, fractions),
                clip[None].to(self._device),
                reach=self._model.reach,
                multiple=self._model.size_multiple,
                tile=self._tile,
            )
        return list(result[0].cpu().unbind(dim=1))

    def _check_itself(self) -> None:
        """Predict the middle one of three real frames, and note how far off the model and the plain ways are."""
        if any(frame.starts_scene for frame, _ in self._held[-2:]):
            return
        before, middle, after = (self._rgb(place) for place in (-3, -2, -1))
        times = [frame.time for frame, _ in self._held[-3:]]
        fraction = (times[1] - times[0]) / (times[2] - times[0])
        # frames beyond lie too near in time to tell of motion at this pace
        clip = [before] * (self._beyond + 1) + [after] * (self._beyond + 1)
        predicted = self._predict(torch.stack(clip, dim=1), [fraction])[0]
        blend = torch.lerp(before, after, float(fraction))
        errors = [float((picture - middle).square().mean()) for picture in (predicted, blend, before)]
        self.check = SelfCheck(1, *errors)
