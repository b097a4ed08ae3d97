"""The protocol of stages, which process a stream of frames, and chains of several stages."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from refilm.errors import UsageError
from refilm.stages.findings import Finding
from refilm.video import Frame, VideoInfo

if TYPE_CHECKING:
    from refilm.stages.demand import Demand  # loads torch


@dataclass(frozen=True)
class StreamShape:
    """The properties of a stream that have to be known, for instance to an encoder, before its first frame.

    frame_rate   nominal, in frames per second
    time_base    in seconds; all times of frames are multiples of it
    start_time   time of the first frame, in seconds
    rotation     degrees counter-clockwise by which players turn the pictures
    """

    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    start_time: Fraction
    rotation: int = 0

    @classmethod
    def of(cls, source: VideoInfo) -> StreamShape:
        """The properties of a source's frames, before any stage."""
        return cls(source.width, source.height, source.frame_rate, source.time_base, source.start_time, source.rotation)

    @property
    def usual_step(self) -> Fraction:
        """The time between two frames at the nominal frame rate, in seconds; a multiple of the time base."""
        return max(1, round(1 / self.frame_rate / self.time_base)) * self.time_base


class Stage(Protocol):
    """Processes a stream: is fed one frame at a time, and yields zero or more items, in order of time.

    An item is a Frame, an event found by a recogniser or detector, or what a codec makes of a frame. Its `time` is when
    it begins, in seconds on the source's clock.

    past, future   number of frames before and after a frame that its result depends on; a segment is given them as
                   context
    skip           number of the frames fed first that are context alone: what begins with one of these is not wanted,
                   and need not be made. To be set before the first frame
    keeps_rate     whether it yields exactly one frame for each that it is fed, with the same time. In a chain, all
                   stages but the last must
    """

    past: int
    future: int
    skip: int
    keeps_rate: bool

    @property
    def findings(self) -> Mapping[str, Finding]:
        """The figures for the report that it has collected since it was made, by the stage's name."""
        ...

    def shape(self, source: StreamShape) -> StreamShape:
        """The properties of its output for an input with those of `source`."""
        ...

    def demands(self, source: StreamShape) -> list[Demand]:
        """The memory that it needs for an input with the properties of `source`, one entry per stage."""
        ...

    def push(self, frame: Frame) -> Iterator[Any]:
        """Takes the next frame, and yields the items that are complete."""
        ...

    def flush(self) -> Iterator[Any]:
        """The remaining items at the end of the stream. Afterwards, a new stream can begin."""
        ...


@runtime_checkable
class TimesItself(Protocol):
    """A stage whose work does not grow with the size of the source's pictures, since it reduces them."""

    def seconds_a_frame(self, source: StreamShape) -> float:
        """The seconds that its model takes for a frame of the source, by a trial."""
        ...


@runtime_checkable
class Watcher(Stage, Protocol):
    """A stage that makes events, works on frames much smaller than the film's, and looks ahead by time.

    How many frames there are in a time is not known beforehand, so what it is given behind a segment is counted in
    seconds. These frames are kept for the next segment as well, and are reduced for this reason as soon as they are
    read. It comes alone, and not in a chain.

    ahead    seconds after the end of a segment up to which it is fed frames; `future` is 0
    opens    whether the first frame that it is fed is the first of the film. To be set before it
    until    from this time on, events are those of the next segment, and are not wanted; None: not known yet. To be
             set before the first frame of that segment
    """

    ahead: Fraction
    opens: bool
    until: Fraction | None

    def reduced(self, frame: Frame) -> Frame:
        """All that it needs of a frame. `push` takes either."""
        ...

    def seconds_a_frame(self, source: StreamShape) -> float:
        """The seconds that its model takes for a frame of the source, by a trial."""
        ...


class Chain:
    """Several stages as one: each is fed the output of the one before it.

    Raises UsageError if a stage before the last one changes the frame rate. The context of a segment is counted in
    frames of the source, and would then be too short for the stages after that one.
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
    def skip(self) -> int:
        return sum(stage.skip for stage in self._stages)

    @skip.setter
    def skip(self, frames: int) -> None:
        later, skipped = self.past, 0
        for stage in self._stages:
            later -= stage.past  # context that the stages after this one need
            stage.skip = max(0, frames - later - skipped)
            skipped += stage.skip

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
        """Flushes the stages in order; the remaining frames of each pass through the stages after it."""
        for place, stage in enumerate(self._stages):
            yield from self._through(stage.flush(), place + 1)

    def _through(self, frames: Iterable[Frame], first: int) -> Iterator[Any]:
        for stage in self._stages[first:]:
            frames = itertools.chain.from_iterable(map(stage.push, frames))
        return iter(frames)
