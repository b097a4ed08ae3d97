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
from refilm.pipeline.memory import Demand, measured
from refilm.pipeline.stage import StreamShape
from refilm.pipeline.tiles import run_tiled
from refilm.video import Frame
from refilm.video.colour import from_rgb

# MP4's clock counts in 32 bits; a finer one is refused by the container, so times are then rounded to this.
_FINEST_CLOCK = 2**31 - 1


class Interpolator(Protocol):
    """What the stage asks of a model; see refilm.models."""

    reach: int | None
    size_multiple: int

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """[N, C, 2, H, W], times in (0, 1) -> [N, C, len(times), H, W]"""
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
    lies on the grid. Nothing is blended across a scene cut: the nearer frame is shown again instead.
    """

    past = 0
    future = 1

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
        self.check = SelfCheck()
        self._held: list[tuple[Frame, Tensor | None]] = []  # the last two frames; RGB once it was needed

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
            return torch.rand(1, 3, 2, height, width, device=self._device)

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
                # three frames as they came, and as RGB in single precision
                held=3 * (3 + 12) * pixels,
                # two in one tensor, and the new ones
                whole=(24 + 12 * count) * pixels + band,
                per_pixel=per_pixel + 24 * (count - len(instants)),
                width=source.width,
                height=source.height,
                reach=self._model.reach,
            )
        ]

    def push(self, frame: Frame) -> Iterator[Frame]:
        self._held.append((frame, None))
        if len(self._held) < 2:
            return
        if len(self._held) == 3:
            if self.check.samples == 0:
                self._check_itself()
            del self._held[0]
        yield from self._interval(self._held[-2][0], frame)

    def flush(self) -> Iterator[Frame]:
        if self._held:
            last = self._held[-1][0]
            if self._times is not None:
                yield last
            else:
                yield from (self._shown_at(last, time) for time in self._grid(last.time, last.time + last.duration))
        self._held = []

    def _interval(self, first: Frame, second: Frame) -> Iterator[Frame]:
        """All output frames with first.time <= time < second.time."""
        length = second.time - first.time
        if self._times is not None:
            step = length / self._times
            instants = [first.time + k * step for k in range(self._times)]
        else:
            step, instants = self._step, list(self._grid(first.time, second.time))
        fractions = [(instant - first.time) / length for instant in instants]
        inner = [fraction for fraction in fractions if fraction > 0]
        pictures = iter(() if second.starts_scene or not inner else self._between(inner))
        for instant, fraction in zip(instants, fractions, strict=True):
            if fraction == 0:
                yield first.at(instant, step)
            elif second.starts_scene:
                nearer = first if fraction < Fraction(1, 2) else second
                yield replace(nearer, time=instant, duration=step, starts_scene=False, origin="repeated")
            else:
                yield replace(
                    first,
                    planes=from_rgb(next(pictures), first),
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

    def _between(self, fractions: list[Fraction]) -> list[Tensor]:
        return self._predict(torch.stack([self._rgb(-2), self._rgb(-1)], dim=1), fractions)

    def _predict(self, clip: Tensor, fractions: list[Fraction]) -> list[Tensor]:
        """[3, 2, H, W] -> pictures [3, H, W], one for each fraction of the interval."""
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
        if any(frame.starts_scene for frame, _ in self._held[1:]):
            return
        before, middle, after = (self._rgb(place) for place in range(3))
        times = [frame.time for frame, _ in self._held]
        fraction = (times[1] - times[0]) / (times[2] - times[0])
        predicted = self._predict(torch.stack([before, after], dim=1), [fraction])[0]
        blend = torch.lerp(before, after, float(fraction))
        errors = [float((picture - middle).square().mean()) for picture in (predicted, blend, before)]
        self.check = SelfCheck(1, *errors)
