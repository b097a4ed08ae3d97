"""Cutting a stream into segments: the unit of work, of resume and of distribution."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import cv2

from refilm.stages.findings import Finding
from refilm.stages.stage import Stage
from refilm.video import Bookmark, Frame, digest


@dataclass(frozen=True)
class SegmentEnd:
    """Follows a segment's last item.

    frames_in   source frames that are this segment's own, context not counted
    end_time    when the last of them ends, seconds
    levels      for each plane, the sum of their mean codes
    findings    what the stage noticed, by its name
    next_start  where to begin reading in order to make the next segment; None after the last one
    """

    index: int
    frames_in: int
    end_time: Fraction
    levels: list[float]
    findings: dict[str, Finding] = field(default_factory=dict)
    next_start: Bookmark | None = None


def first_frame(segment: int, length: int, before: int) -> int:
    """The source frame at which reading for a segment begins."""
    return max(0, segment * length - before)


def run_segments(
    frames: Iterator[Frame],
    make_stage: Callable[[], Stage],
    length: int,
    lead: int = 0,
    first: int = 0,
    end: int | None = None,
) -> Iterator[Any]:
    """The items of each segment, then its SegmentEnd.

    Every segment is made by a fresh stage that is fed the segment's frames and the context it asks for on both sides,
    so its result does not depend on where the run began. A segment owns the output from the time of its first source
    frame up to that of the next segment's first; the first and the last own what lies outside.

    frames   of the source, from frame number first_frame(first, length, stage.past + lead) on
    length   source frames a segment
    lead     frames before the stage's own context that whoever made `frames` needs to have seen (scene cuts look back)
    first    number of the segment to start with
    end      number of the first segment that is not wanted; None: on to the end of the stream
    """
    before = make_stage().past + lead
    source = _Buffer(frames, first_frame(first, length, before))
    for index in itertools.count(first) if end is None else range(first, end):
        stage = make_stage()
        own, following = index * length, (index + 1) * length
        opening = source.get(own)
        begin_time = opening.time if opening is not None and index > 0 else None
        end_time = None
        last, levels = opening, [0.0] * (len(opening.planes) if opening is not None else 0)
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
            yield from _owned(stage.push(frame), begin_time, end_time)
            source.forget(min(number, following - before))
        after = source.get(following)
        start = first_frame(index + 1, length, before)
        bookmark = source.get(start)
        next_start = None if after is None or bookmark is None else Bookmark(start, bookmark.time, digest(bookmark))
        assert last is not None, "a segment is begun only if it has a frame"
        yield SegmentEnd(
            index,
            min(source.read, following) - own,
            last.time + last.duration,
            levels,
            dict(stage.findings),
            next_start,
        )
        if next_start is None:
            return


def mean_codes(frame: Frame) -> list[float]:
    """The mean sample of each plane."""
    return [cv2.mean(plane)[0] for plane in frame.planes]  # a tenth of the time that numpy takes


def survey(frames: Iterable[Frame], length: int, before: int) -> list[Bookmark | None]:
    """Where reading for each segment begins, found by decoding the source once without any model.

    before   frames of context that a segment is given: those of the stages, and what finding cuts needs
    out      one entry a segment; None where reading begins with the first frame
    """
    starts: list[Bookmark | None] = []
    marks: dict[int, Bookmark] = {}
    for number, frame in enumerate(frames):
        if number and (number + before) % length == 0:
            marks[number] = Bookmark(number, frame.time, digest(frame))
        if number % length == 0:
            starts.append(marks.pop(first_frame(number // length, length, before), None))
    return starts


def _owned(results: Iterator[Any], begin: Fraction | None, end: Fraction | None) -> Iterator[Any]:
    return (item for item in results if (begin is None or item.time >= begin) and (end is None or item.time < end))


class _Buffer:
    """Frames by number, read on demand and kept until forgotten."""

    def __init__(self, frames: Iterator[Frame], start: int) -> None:
        self.read = start  # frames of the stream that have come by
        self._frames = frames
        self._held: deque[Frame] = deque()

    def get(self, number: int) -> Frame | None:
        """None if the stream ends before it."""
        while self.read <= number:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._held.append(frame)
            self.read += 1
        return self._held[number - self.read]

    def forget(self, before: int) -> None:
        """Everything that precedes frame number `before`."""
        while self._held and self.read - len(self._held) < before:
            self._held.popleft()
