"""Cutting a stream into segments. A segment is what is made at a time, resumed from, or given to another process."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import cv2

from refilm.stages.combs import CombCheck
from refilm.stages.findings import Finding
from refilm.stages.repeats import RepeatMarker
from refilm.stages.stage import Stage, Watcher
from refilm.video import Bookmark, Frame


@dataclass(frozen=True)
class SegmentEnd:
    """The end of a segment, which follows its last item.

    index       number of the segment
    frames_in   number of the segment's own source frames, without context
    end_time    when the last of them ends, in seconds
    levels      for each plane, the sum of their mean codes
    findings    those of the stages, by name, and those about the segment's source frames
    next_start  where to begin reading for the next segment; None after the last one
    """

    index: int
    frames_in: int
    end_time: Fraction
    levels: list[float]
    findings: dict[str, Finding] = field(default_factory=dict)
    next_start: Bookmark | None = None


def first_frame(segment: int, length: int, before: int) -> int:
    """Number of the source frame at which reading for a segment begins; `before`: frames of context."""
    return max(0, segment * length - before)


def run_segments(
    frames: Iterator[Frame],
    make_stage: Callable[[], Stage],
    length: int,
    lead: int = 0,
    first: int = 0,
    end: int | None = None,
) -> Iterator[Any]:
    """For each segment, its items and then a SegmentEnd.

    Each segment is made by a new stage, which is fed the frames of the segment and the context that it needs on both
    sides. The result therefore does not depend on where a run began. To a segment belong the items from the time of its
    first source frame up to that of the next segment's first; the first and the last segment also have those outside.

    frames   of the source, from number first_frame(first, length, stage.past + lead) on
    length   source frames in a segment
    lead     further frames, before the stage's context, that the detection of scene cuts needs
    first    number of the first segment
    end      number of the first segment that is not wanted; None: up to the end of the stream
    """
    stage = make_stage()
    before = stage.past + lead
    source = _Buffer(frames, first_frame(first, length, before), length, before, stage)
    for index in itertools.count(first) if end is None else range(first, end):
        stage = make_stage()
        own, following = index * length, (index + 1) * length
        stage.skip = min(stage.past, own)
        watcher = stage if isinstance(stage, Watcher) else None
        if watcher is not None:
            watcher.opens = own == 0
        opening = source.get(own)
        begin_time = opening.time if opening is not None and index > 0 else None
        fed = end_time = None
        last, seen = opening, _SeenWhole() if watcher is None else _Seen()
        for number in itertools.count(max(0, own - stage.past)):
            if number >= following + stage.future and (watcher is None or _is_behind(watcher, end_time, fed)):
                break
            frame = source.get(number)
            if frame is None:
                yield from owned(stage.flush(), begin_time, end_time)
                break
            if number == following:
                end_time = frame.time
                if watcher is not None:
                    watcher.until = end_time
            elif own <= number < following:
                last = frame
                seen.push(frame)
            fed = frame.time
            yield from owned(stage.push(frame), begin_time, end_time)
            source.forget(min(number, following - before))
        next_start = None if source.get(following) is None else source.bookmark(first_frame(index + 1, length, before))
        assert last is not None, "a segment is begun only if it has a frame"
        yield SegmentEnd(
            index,
            min(source.read, following) - own,
            last.time + last.duration,
            seen.levels,
            {**stage.findings, **seen.findings()},
            next_start,
        )
        if next_start is None:
            return


def mean_codes(frame: Frame) -> list[float]:
    """The mean code of each plane."""
    return [cv2.mean(plane)[0] for plane in frame.planes]  # in a tenth of the time that numpy takes


def survey(frames: Iterable[Frame], length: int, before: int) -> list[Bookmark | None]:
    """Where reading for each segment begins, found by decoding the source once, without any model.

    length   source frames in a segment
    before   frames of context before a segment, for its stage and for the detection of scene cuts
    out      one entry per segment; None if reading begins with the first frame
    """
    starts: list[Bookmark | None] = []
    marks: dict[int, Bookmark] = {}
    for number, frame in enumerate(frames):
        if number and (number + before) % length == 0:
            marks[number] = Bookmark.of(frame, number)
        if number % length == 0:
            starts.append(marks.pop(first_frame(number // length, length, before), None))
    return starts


def owned(results: Iterator[Any], begin: Fraction | None, end: Fraction | None) -> Iterator[Any]:
    """The items with times in [begin, end)."""
    return (item for item in results if (begin is None or item.time >= begin) and (end is None or item.time < end))


def _is_behind(stage: Watcher, end: Fraction | None, fed: Fraction | None) -> bool:
    """Whether the frame at `fed` is so far behind the end of a segment that the stage needs no more; in seconds."""
    return end is not None and fed is not None and fed >= end + stage.ahead


class _Seen:
    """What the job itself notes of a segment's own frames: nothing where they come reduced."""

    def __init__(self) -> None:
        self.levels: list[float] = []

    def push(self, frame: Frame) -> None:
        return

    def findings(self) -> dict[str, Finding]:
        return {}


class _SeenWhole(_Seen):
    """The levels of the planes, repeats and combs."""

    def __init__(self) -> None:
        super().__init__()
        self._repeats, self._combs = RepeatMarker(), CombCheck()

    def push(self, frame: Frame) -> None:
        levels = self.levels or [0.0] * len(frame.planes)
        self.levels = [total + mean for total, mean in zip(levels, mean_codes(frame), strict=True)]
        self._combs.push(frame)
        deque(self._repeats.push(frame), maxlen=0)

    def findings(self) -> dict[str, Finding]:
        deque(self._repeats.flush(), maxlen=0)
        return {"repeats": self._repeats.finding, "combs": self._combs.finding}


class _Buffer:
    """Frames by their number, read on demand, and kept until `forget`; reduced, if the stage is a Watcher.

    start    number of the first frame of the stream
    length   of the segments, each of which needs so many frames `before` its own
    """

    def __init__(self, frames: Iterator[Frame], start: int, length: int, before: int, stage: Stage) -> None:
        self.read = start  # number of the next frame of the stream
        self._frames, self._length, self._before = frames, length, before
        self._reduced = stage.reduced if isinstance(stage, Watcher) else None
        self._held: deque[Frame] = deque()
        self._bookmarks: dict[int, Bookmark] = {}

    def get(self, number: int) -> Frame | None:
        """The frame of that number; None if the stream ends before it."""
        while self.read <= number:
            frame = next(self._frames, None)
            if frame is None:
                return None
            if self._reduced is not None:
                if self.read == 0 or (self.read + self._before) % self._length == 0:
                    self._bookmarks[self.read] = Bookmark.of(frame, self.read)
                frame = self._reduced(frame)
            self._held.append(frame)
            self.read += 1
        return self._held[number - self.read]

    def bookmark(self, number: int) -> Bookmark | None:
        """Where reading for a segment begins, at the frame of that number; None if the stream ends before it."""
        if self._reduced is not None:
            return self._bookmarks.get(number)
        frame = self.get(number)
        return None if frame is None else Bookmark.of(frame, number)

    def forget(self, before: int) -> None:
        """Release the frames before number `before`."""
        while self._held and self.read - len(self._held) < before:
            self._held.popleft()
        for number in [number for number in self._bookmarks if number < before]:
            del self._bookmarks[number]
