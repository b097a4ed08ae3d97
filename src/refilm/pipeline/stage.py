"""The one shape of everything that works on a stream of frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from refilm.pipeline.memory import Demand
from refilm.video import Frame
from refilm.video.colour import from_rgb


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
    """Restores each frame from itself and `radius` frames on either side; never holds more than 2 * radius + 1.

    A window does not reach across a scene cut or an end of the stream: the nearest frame of the scene stands in.

    restore   [1, 3, 2 * radius + 1, H, W] -> [1, 3, scale * H, scale * W], the centre frame restored
    """

    def __init__(self, restore: Callable[[Tensor], Tensor], radius: int, scale: int = 1) -> None:
        self.past = self.future = radius
        self._restore, self._radius, self._scale = restore, radius, scale
        self._held: list[tuple[Frame, Tensor]] = []
        self._centre = 0  # the place in `_held` of the frame to restore next

    @property
    def findings(self) -> dict[str, float]:
        return {}

    def shape(self, source: StreamShape) -> StreamShape:
        return replace(source, width=self._scale * source.width, height=self._scale * source.height)

    def demands(self, source: StreamShape) -> list[Demand]:
        # each frame as it came, and as RGB in single precision
        return [Demand("the window", held=(2 * self._radius + 1) * (3 + 12) * source.width * source.height)]

    def push(self, frame: Frame) -> Iterator[Frame]:
        self._held.append((frame, frame.rgb))
        if len(self._held) - self._centre > self._radius:
            yield self._restore_next()

    def flush(self) -> Iterator[Frame]:
        while self._centre < len(self._held):
            yield self._restore_next()
        self._held, self._centre = [], 0

    def _restore_next(self) -> Frame:
        centre, last = self._centre, len(self._held) - 1
        first_of_scene = max((p for p in range(centre + 1) if self._held[p][0].starts_scene), default=0)
        last_of_scene = min((p - 1 for p in range(centre + 1, last + 1) if self._held[p][0].starts_scene), default=last)
        places = range(centre - self._radius, centre + self._radius + 1)
        window = torch.stack([self._held[min(max(p, first_of_scene), last_of_scene)][1] for p in places], dim=1)
        frame = self._held[centre][0]
        # not clamped: codes beyond black and white stay what they are
        planes = from_rgb(self._restore(window[None])[0], frame)
        if centre == self._radius:
            del self._held[0]
        else:
            self._centre += 1
        return replace(frame, planes=planes, origin="restored")


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
