"""The one shape of everything that works on a stream of frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from refilm.stages.demand import Demand
from refilm.video import Frame

Window = Callable[[Tensor], Tensor]  # [1, 3, T, H, W] -> [1, 3, H', W']


@dataclass(frozen=True)
class StreamShape:
    """What a stage's output looks like before a frame of it exists; encoders want to know."""

    width: int
    height: int
    frame_rate: Fraction  # nominal
    time_base: Fraction  # every frame time is a whole number of these seconds
    start_time: Fraction  # of the first frame


class Stage(Protocol):
    """Is fed one frame at a time and gives back zero or more, in order of time.

    past, future   frames before and after a frame that its result depends on: the context a segment is given
    """

    past: int
    future: int

    @property
    def findings(self) -> dict[str, float]:
        """What it noticed on the way, for the report: sums, which are added up over the segments."""
        ...

    def shape(self, source: StreamShape) -> StreamShape:
        """The stream it makes of `source`."""
        ...

    def demands(self, source: StreamShape) -> list[Demand]:
        """What it needs of memory on the way from `source`."""
        ...

    def push(self, frame: Frame) -> Iterator[Frame]: ...

    def flush(self) -> Iterator[Frame]:
        """The frames still owed at the end of the stream; the stage is then as new."""
        ...


class TemporalWindow:
    """Restores each frame from itself and `radius` frames on either side; holds at most 2 * radius + 1, and 3 results.

    A window does not reach across a scene cut or an end of the stream: the nearest frame of the scene stands in.

    restore   [1, 3, 2 * radius + 1, H, W] -> [1, 3, scale * H, scale * W], the centre frame restored
    finish    what is made of a restored frame and of those on either side of it, [1, 3, 3, scale * H, scale * W] ->
              [1, 3, scale * H, scale * W]; None: it stays as it is
    """

    def __init__(self, restore: Window, radius: int, scale: int = 1, finish: Window | None = None) -> None:
        self._steps = [(_Windows(radius), restore)]
        if finish is not None:
            self._steps.append((_Windows(1), finish))
        self.past = self.future = sum(windows.radius for windows, _ in self._steps)
        self._radius, self._scale = radius, scale

    @property
    def findings(self) -> dict[str, float]:
        return {}

    def shape(self, source: StreamShape) -> StreamShape:
        return replace(source, width=self._scale * source.width, height=self._scale * source.height)

    def demands(self, source: StreamShape) -> list[Demand]:
        # each frame as it came, and as RGB in single precision; each result as RGB
        of_results = 3 * 12 * self._scale**2 * (len(self._steps) - 1)
        held = ((2 * self._radius + 1) * (3 + 12) + of_results) * source.width * source.height
        return [Demand("the window", held=held)]

    def push(self, frame: Frame) -> Iterator[Frame]:
        return self._through([(frame, frame.rgb)], 0)

    def flush(self) -> Iterator[Frame]:
        for place, (windows, run) in enumerate(self._steps):
            yield from self._through(((frame, run(window)[0]) for frame, window in windows.flush()), place + 1)

    def _through(self, pictures: Iterable[tuple[Frame, Tensor]], first: int) -> Iterator[Frame]:
        """What becomes of pictures that the step `first` is fed."""
        for windows, run in self._steps[first:]:
            pictures = _stepped(pictures, windows, run)
        for frame, picture in pictures:
            # not clamped: codes beyond black and white stay what they are
            yield replace(frame.with_rgb(picture), origin="restored")


def _stepped(
    pictures: Iterable[tuple[Frame, Tensor]], windows: _Windows, run: Window
) -> Iterator[tuple[Frame, Tensor]]:
    for frame, picture in pictures:
        for centre, window in windows.push(frame, picture):
            yield centre, run(window)[0]


class _Windows:
    """The pictures around each picture of a stream, [1, 3, 2 * radius + 1, H, W], and the frame in the centre."""

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self._held: list[tuple[Frame, Tensor]] = []
        self._centre = 0  # the place in `_held` of the next frame to stand in the centre

    def push(self, frame: Frame, picture: Tensor) -> Iterator[tuple[Frame, Tensor]]:
        self._held.append((frame, picture))
        if len(self._held) - self._centre > self.radius:
            yield self._next()

    def flush(self) -> Iterator[tuple[Frame, Tensor]]:
        while self._centre < len(self._held):
            yield self._next()
        self._held, self._centre = [], 0

    def _next(self) -> tuple[Frame, Tensor]:
        centre, last = self._centre, len(self._held) - 1
        first_of_scene = max((p for p in range(centre + 1) if self._held[p][0].starts_scene), default=0)
        last_of_scene = min((p - 1 for p in range(centre + 1, last + 1) if self._held[p][0].starts_scene), default=last)
        places = range(centre - self.radius, centre + self.radius + 1)
        window = torch.stack([self._held[min(max(p, first_of_scene), last_of_scene)][1] for p in places], dim=1)
        frame = self._held[centre][0]
        if centre == self.radius:
            del self._held[0]
        else:
            self._centre += 1
        return frame, window[None]


class Chain:
    """Several stages in one pass: each is fed what the one before it gives.

    Only the last may give other frames than it was fed: what the others need on either side is counted in frames.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = tuple(stages)
        self.past = sum(stage.past for stage in stages)
        self.future = sum(stage.future for stage in stages)

    @property
    def findings(self) -> dict[str, float]:
        return {name: value for stage in self._stages for name, value in stage.findings.items()}

    def shape(self, source: StreamShape) -> StreamShape:
        for stage in self._stages:
            source = stage.shape(source)
        return source

    def demands(self, source: StreamShape) -> list[Demand]:
        found = []
        for stage in self._stages:
            found += stage.demands(source)
            source = stage.shape(source)
        return found

    def push(self, frame: Frame) -> Iterator[Frame]:
        return self._through((frame,), 0)

    def flush(self) -> Iterator[Frame]:
        """What a stage still owes passes through the ones after it before they are flushed in turn."""
        for place, stage in enumerate(self._stages):
            yield from self._through(stage.flush(), place + 1)

    def _through(self, frames: Iterable[Frame], first: int) -> Iterator[Frame]:
        for stage in self._stages[first:]:
            frames = itertools.chain.from_iterable(map(stage.push, frames))
        return iter(frames)
