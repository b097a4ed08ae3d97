"""The one shape of everything that works on a stream of frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from refilm.errors import UsageError
from refilm.stages.demand import Demand
from refilm.stages.findings import Finding
from refilm.video import Frame, VideoInfo


@dataclass(frozen=True)
class StreamShape:
    """What a stage's output looks like before a frame of it exists; encoders want to know."""

    width: int
    height: int
    frame_rate: Fraction  # nominal
    time_base: Fraction  # every frame time is a whole number of these seconds
    start_time: Fraction  # of the first frame

    @classmethod
    def of(cls, source: VideoInfo) -> StreamShape:
        """What a file's frames look like before any stage."""
        return cls(source.width, source.height, source.frame_rate, source.time_base, source.start_time)


class Stage(Protocol):
    """Is fed one frame at a time and gives back zero or more items, in order of time.

    An item is a Frame, an event of a recogniser, or what a codec makes of a frame. Its `time` says when it begins,
    seconds on the source's clock.

    past, future   frames before and after a frame that its result depends on: the context a segment is given
    keeps_rate     whether it gives one frame for each that it is fed, at the same time. Only the last stage of a chain
                   may do otherwise
    """

    past: int
    future: int
    keeps_rate: bool

    @property
    def findings(self) -> Mapping[str, Finding]:
        """What it noticed since it was made, by its name."""
        ...

    def shape(self, source: StreamShape) -> StreamShape:
        """The stream it makes of `source`."""
        ...

    def demands(self, source: StreamShape) -> list[Demand]:
        """What it needs of memory on the way from `source`."""
        ...

    def push(self, frame: Frame) -> Iterator[Any]: ...

    def flush(self) -> Iterator[Any]:
        """The items still owed at the end of the stream; the stage is then as new."""
        ...


class Chain:
    """Several stages in one pass: each is fed what the one before it gives.

    Raises UsageError if a stage before the last one changes the frame rate: the context of the stages after it is
    counted in frames of the source, so that frames at a segment's end would be missing.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = tuple(stages)
        for stage in self._stages[:-1]:
            if not stage.keeps_rate:
                raise UsageError(
                    f"{type(stage).__name__} changes which frames there are, so it has to come last in a chain"
                )
        self.past = sum(stage.past for stage in stages)
        self.future = sum(stage.future for stage in stages)
        self.keeps_rate = all(stage.keeps_rate for stage in stages)

    @property
    def findings(self) -> dict[str, Finding]:
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

    def push(self, frame: Frame) -> Iterator[Any]:
        return self._through((frame,), 0)

    def flush(self) -> Iterator[Any]:
        """What a stage still owes passes through the ones after it before they are flushed in turn."""
        for place, stage in enumerate(self._stages):
            yield from self._through(stage.flush(), place + 1)

    def _through(self, frames: Iterable[Frame], first: int) -> Iterator[Any]:
        for stage in self._stages[first:]:
            frames = itertools.chain.from_iterable(map(stage.push, frames))
        return iter(frames)
