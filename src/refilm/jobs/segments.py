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
from refilm.stages.stage import Stage
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
    before = make_stage().past + lead
    source = _Buffer(frames, first_frame(first, length, before))
    for index in itertools.count(first) if end is None else range(first, end):
        stage = make_stage()
        own, following = index * length, (index + 1) * length
        stage.skip = min(stage.past, own)
        opening = source.get(own)
        begin_time = opening.time if opening is not None and index > 0 else None
        end_time = None
        last, levels = opening, [0.0] * (len(opening.planes) if opening is not None else 0)
        repeats, combs = RepeatMarker(), CombCheck()
        for number in range(max(0, own - stage.past), following + stage.future):
            frame = source.get(number)
            if frame is None:
                yield from _owned(stage.flush(), begin_time, end_time)
                break
            if number == following:
                end_time = frame.time
            elif own <= number < following:
                last = frame
                levels = [total + mean for total, mean in zip(levels, mean_codes(frame), strict=True)]
                combs.push(frame)
                deque(repeats.push(frame), maxlen=0)
            yield from _owned(stage.push(frame), begin_time, end_time)
            source.forget(min(number, following - before))
        deque(repeats.flush(), maxlen=0)
        after = source.get(following)
        start = first_frame(index + 1, length, before)
        bookmark = source.get(start)
        next_start = None if after is None or bookmark is None else Bookmark.of(bookmark, start)
        assert last is not None, "a segment is begun only if it has a frame"
        yield SegmentEnd(
            index,
            min(source.read, following) - own,
            last.time + last.duration,
            levels,
            {**stage.findings, "repeats": repeats.finding, "combs": combs.finding},
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


def _owned(results: Iterator[Any], begin: Fraction | None, end: Fraction | None) -> Iterator[Any]:
    """The items with times in [begin, end)."""
    return (item for item in results if (begin is None or item.time >= begin) and (end is None or item.time < end))


class _Buffer:
    """Frames by their number, read on demand, and kept until `forget`."""

    def __init__(self, frames: Iterator[Frame], start: int) -> None:
        self.read = start  # number of the next frame of the stream
        self._frames = frames
        self._held: deque[Frame] = deque()

    def get(self, number: int) -> Frame | None:
        """The frame of that number; None if the stream ends before it."""
        while self.read <= number:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._held.append(frame)
            self.read += 1
        return self._held[number - self.read]

    def forget(self, before: int) -> None:
        """Release the frames before number `before`."""
        while self._held and self.read - len(self._held) < before:
            self._held.popleft()
