"""Cutting a stream into segments: the unit of work, of resume and of distribution."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2

from refilm.stages.stage import Stage
from refilm.video import Bookmark, Frame, digest


@dataclass(frozen=True)
class SegmentEnd:
    """Follows a segment's last frame.

    frames_in   source frames that are this segment's own, context not counted
    end_time    when the last of them ends, seconds
    levels      for each plane, the sum of their mean codes
    next_start  where to begin reading in order to make the next segment; None after the last one
    """

    index: int
    frames_in: int
    end_time: Fraction
    levels: list[float]
    stage: Stage
    next_start: Bookmark | None


def first_frame(segment: int, length: int, before: int) -> int:
    """The source frame at which reading for a segment begins."""
    return max(0, segment * length - before)


def run_segments(
    frames: Iterator[Frame], make_stage: Callable[[], Stage], length: int, lead: int = 0, first: int = 0
) -> Iterator[Frame | SegmentEnd]:
    """The output frames of each segment, then its SegmentEnd.

    Every segment is made by a fresh stage that is fed the segment's frames and the context it asks for on both sides,
    so its result does not depend on where the run began. A segment owns the output from the time of its first source
    frame up to that of the next segment's first; the first and the last own what lies outside.

    frames   of the source, from frame number first_frame(first, length, stage.past + lead) on
    length   source frames a segment
    lead     frames before the stage's own context that whoever made `frames` needs to have seen (scene cuts look back)
    first    number of the segment to start with
    """
    before = make_stage().past + lead
    source = _Buffer(frames, first_frame(first, length, before))
    for index in itertools.count(first):
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
        yield SegmentEnd(index, min(source.read, following) - own, last.time + last.duration, levels, stage, next_start)
        if next_start is None:
            return


def mean_codes(frame: Frame) -> list[float]:
    """The mean sample of each plane."""
    return [cv2.mean(plane)[0] for plane in frame.planes]  # a tenth of the time that numpy takes


def _owned(results: Iterator[Frame], begin: Fraction | None, end: Fraction | None) -> Iterator[Frame]:
    return (frame for frame in results if (begin is None or frame.time >= begin) and (end is None or frame.time < end))


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
