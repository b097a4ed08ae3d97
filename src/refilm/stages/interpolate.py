"""The stage that interpolates frames, at exact times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor

from refilm.errors import UsageError
from refilm.models.contract import Interpolator
from refilm.stages.demand import Demand, Measured
from refilm.stages.findings import SelfCheck
from refilm.stages.repeats import RepeatMarker
from refilm.stages.running import Interpolating, Interval
from refilm.stages.stage import StreamShape
from refilm.stages.steps import bytes_seen, interpolator_steps, memory_of
from refilm.video import Frame

# The clock of MP4 has 32 bits, and a finer time base is refused. Times are then rounded to microseconds.
_FINEST_CLOCK = 2**31 - 1
# What is longer than both, in seconds and in usual steps, is a gap, and no motion is seen across it.
_SHORTEST_GAP, _GAP_STEPS = Fraction(1, 2), 8


class Interpolate:
    """Multiplies the frame rate by `times`, or resamples to the frame rate `fps`.

    With `times`, every source frame keeps its time, and times - 1 frames are added in each interval between two. With
    `fps`, frames lie on a grid of times that begins at the first frame and ends with the last one; a source frame is
    kept if its time lies on the grid. At a scene cut and at the end, the nearer frame is repeated instead of
    interpolating. A model that redraws its inputs also replaces the source's frames, except in scenes of a single
    frame.

    A gap far longer than the usual step is no motion: its first frame is held, and what is new lies in the last step.

    start_time     time of the first source frame, in seconds: where the grid begins
    tile           see `run_tiled`
    usual_step     time between two frames, in seconds; None: no gap is too long
    drop_repeats   whether frames that repeat the one before are replaced by new ones, between the frames around them;
                   the times of the output are the same with and without

    Raises UsageError unless exactly one of `times` and `fps` is given, and is positive; and where the model cannot make
    frames at all the times that come of it.
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
        usual_step: Fraction | None = None,
        drop_repeats: bool = False,
    ) -> None:
        if (times is None) == (fps is None):
            raise UsageError("wanted one of times and fps, got " + ("neither" if times is None else "both"))
        if times is not None and times < 1:
            raise UsageError(f"times must be at least 1, got {times}")
        if fps is not None and fps <= 0:
            raise UsageError(f"fps must be above 0, got {fps}")
        _check_instants(model, times, drop_repeats)
        self._model, self._times, self._fps = model, times, fps
        self._start, self._device = start_time, device
        self._run: Interpolating[Frame] = Interpolating(model, device, tile)
        self.past, self.future = self._run.past, self._run.future
        self._step = usual_step
        self._marker = RepeatMarker() if drop_repeats else None
        self._dropped: deque[Fraction] = deque()  # times of dropped frames that lie in intervals to come
        self._end = Fraction(0)  # of the latest frame
        self.skip, self._count = 0, 0  # frames so far
        self._begin: Fraction | None = None  # time of the first frame that is no mere context
        if self._marker is not None:
            apart = 1 + self._marker.longest
            self.past = self._marker.past + self._marker.longest + apart * self._run.past
            self.future = self._marker.future + apart * self._run.future
        self.check = SelfCheck()
        self._makes_frames = times != 1 or drop_repeats or model.redraws_inputs

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
        model, pixels = self._model, source.width * source.height
        rate = self.shape(source).frame_rate
        waiting, apart = (0, 1) if self._marker is None else (self._marker.past, 1 + self._marker.longest)
        # new frames in an interval, at most
        count = math.ceil(rate / source.frame_rate) * apart - (self._times is not None) + model.redraws_inputs
        frames = max(model.window, 3)
        whole, at_once = self._working(count, source.width, source.height) if count else (0.0, Measured())
        return [
            Demand(
                name="interpolate",
                # source frames, as decoded and those that may be repeats; and, if the model runs, as RGB in single
                # precision, with what it remembers
                held=(3 * (frames + waiting) + (12 * frames + model.remembered if count else 0)) * pixels,
                whole=whole,
                at_once=at_once,
                width=source.width,
                height=source.height,
                reach=model.reach,
                task=model.task,
            )
        ]

    def _working(self, count: int, width: int, height: int) -> tuple[float, Measured]:
        """Bytes while `count` new frames of this size are made: for the whole picture, and for a tile."""
        model, pixels = self._model, width * height
        frame, size = 12 * pixels, (width, height, self._device)
        # each frame after the third adds only its own picture
        steps = interpolator_steps(model, min(count, 3), self._device)
        memory = [memory_of(step, model, *size) for step in steps]
        whole = frame * model.window
        if width % model.size_multiple or height % model.size_multiple:
            whole *= 2  # the padded window
        if (band_pixels := model.band_pixels(width)) is None:
            return whole + frame * (count - 1), memory[0]
        before, band = memory
        then = bytes_seen(model, self._device) * pixels + frame * count + band.at(min(band_pixels, pixels))
        # what the model remembers is counted as held, see `demands`
        return whole + max(before.at(pixels) - model.remembered * pixels, then), Measured()

    def push(self, frame: Frame) -> Iterator[Frame]:
        self._end = frame.time + frame.duration
        if self._count == self.skip:
            self._begin = frame.time
        self._count += 1
        for kept in self._kept([(frame, False)] if self._marker is None else self._marker.push(frame)):
            yield from self._next(kept)

    def flush(self) -> Iterator[Frame]:
        for kept in self._kept([] if self._marker is None else self._marker.flush()):
            yield from self._next(kept)
        for interval in self._run.flush():
            yield from self._shown(interval)
        self._count, self._begin = 0, None

    def _kept(self, frames: Iterable[tuple[Frame, bool]]) -> Iterator[Frame]:
        """The frames that are no repeats; the times of the others are noted."""
        for frame, is_repeat in frames:
            if is_repeat:
                self._dropped.append(frame.time)
            else:
                yield frame

    def _next(self, frame: Frame) -> Iterator[Frame]:
        for interval in self._run.push(frame):
            yield from self._shown(interval)
        # a recurrent model's state would be disturbed
        if self._makes_frames and self.check.samples == 0 and not self._model.recurrent:
            self._check_itself()

    def _shown(self, interval: Interval[Frame]) -> Iterator[Frame]:
        """The output frames of an interval: from the time of its first frame up to that of the next, exclusive."""
        first, second = interval.first, interval.second
        end = self._end if second is None else second.time
        borders = [first.time]  # times of the source's frames, and the end
        while self._dropped and self._dropped[0] < end:
            borders.append(self._dropped.popleft())
        borders.append(end)
        if (self._begin is None or end <= self._begin) and not self._model.recurrent:
            return
        # The first picture is held up to `begin`: before a scene cut, as long as the source holds it; and in a gap.
        begin = first.time if interval.is_whole else borders[-2]
        if self._is_gap(begin, end):
            begin = end - self._step  # type: ignore[operator]  # a gap is known by the usual step
        instants = self._instants(borders, ends_stream=second is None)
        durations = [1 / self._fps] * len(instants) if self._fps else [b - a for a, b in pairwise([*instants, end])]
        moving = [(instant - begin) / (end - begin) for instant in instants if instant > begin]

        own, pictures = first, iter(list[Tensor]())
        redraws = self._model.redraws_inputs and len(moving) < len(instants)
        if interval.is_whole and (redraws or moving):
            pictures = iter(interval.between([Fraction(0)] * redraws + moving))
        if redraws and (picture := next(pictures) if interval.is_whole else interval.redrawn()) is not None:
            own = replace(first.with_rgb(picture), origin="restored")
        for instant, duration in zip(instants, durations, strict=True):
            if instant == first.time:
                yield own.at(instant, duration)
            elif instant > begin and interval.is_whole:
                new = first.with_rgb(next(pictures)).at(instant, duration)
                yield replace(new, starts_scene=False, origin="new")
            else:
                nearer = own if second is None or instant - begin < (end - begin) / 2 else second
                yield replace(nearer.at(instant, duration), starts_scene=False, origin="repeated")

    def _is_gap(self, begin: Fraction, end: Fraction) -> bool:
        return self._step is not None and end - begin > max(_SHORTEST_GAP, _GAP_STEPS * self._step)

    def _instants(self, borders: Sequence[Fraction], ends_stream: bool) -> list[Fraction]:
        """The times of the output frames in an interval, from the times of the source's frames in it and its end."""
        if self._fps is not None:
            return self._grid(borders[0], borders[-1])
        assert self._times is not None
        instants = []
        for begin, end in pairwise(borders):
            instants.append(begin)
            if not (ends_stream and end == borders[-1]):
                length = self._step if self._step is not None and self._is_gap(begin, end) else end - begin
                instants += [end - length + k * length / self._times for k in range(1, self._times)]
        return instants

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


def _check_instants(model: Interpolator, times: int | None, drop_repeats: bool) -> None:
    """Raises UsageError if a model that makes frames at certain times only would be asked for others."""
    if model.instants is None:
        return
    able = [n for n in range(1, 9) if {Fraction(k, n) for k in range(1, n)} <= set(model.instants)]
    if times not in able or drop_repeats:
        name = getattr(model, "name", type(model).__name__)
        raise UsageError(
            f"{name} makes frames at {', '.join(map(str, model.instants))} of the way between two alone: use times = "
            f"{' or '.join(map(str, able))}, without fps and drop_repeats"
        )
