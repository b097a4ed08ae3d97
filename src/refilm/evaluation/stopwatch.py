"""How long a frame takes."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator

from torch import Tensor


class Stopwatch:
    """The time a method takes, apart from the time that measuring its frames takes.

    Counted by groups of frames, as a model may make all frames of a gap at once. The first group of each run is left
    out: it pays for warming up, and for the look-ahead of FFmpeg's filters.
    """

    def __init__(self) -> None:
        self._seconds_per_frame: list[float] = []

    def timed(self, new: Iterator[Tensor], group: int = 1) -> Iterator[Tensor]:
        """The same frames, which come `group` at a time."""
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

    @property
    def median_ms(self) -> float | None:
        """Of one frame; the median, since other programs interrupt now and then. None before a second group."""
        return statistics.median(self._seconds_per_frame) * 1000 if self._seconds_per_frame else None
