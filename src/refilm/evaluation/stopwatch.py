"""Measuring the time that a method takes for a frame."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator

from torch import Tensor


class Stopwatch:
    """Measures the time that a method takes to make frames, without the time that the consumer takes between them.

    Frames are counted in groups, because a model may make all frames of an interval at once. The first group of each
    run is not counted: it includes warming up, and the look-ahead of FFmpeg's filters.
    """

    def __init__(self) -> None:
        self._seconds_per_frame: list[float] = []

    def timed(self, new: Iterator[Tensor], group: int = 1) -> Iterator[Tensor]:
        """Passes on the frames of `new`, which are made `group` at a time, and measures how long each group takes."""
        spent, first_group = 0.0, True
        for number in itertools.count(1):
            start = time.perf_counter()
            frame = next(new, None)
            spent += time.perf_counter() - start
            if frame is None:
                return
            if number % group == 0:
                if not first_group:
                    self._seconds_per_frame.append(spent / group)
                spent, first_group = 0.0, False
            yield frame

    def add(self, seconds_per_frame: float) -> None:
        """Count a group of frames that was timed elsewhere."""
        self._seconds_per_frame.append(seconds_per_frame)

    @property
    def median_ms(self) -> float | None:
        """Milliseconds per frame; None before a second group.

        The median, because other programs interrupt now and then.
        """
        return statistics.median(self._seconds_per_frame) * 1000 if self._seconds_per_frame else None
