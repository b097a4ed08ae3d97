"""The named ways to measure. A figure without its protocol means nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Interpolation:
    """Keep one frame of `step`, rebuild the others, compare with the real ones.

    Frames count by number, not by time stamp: the clip is taken to have a constant rate. Frames after the last kept one
    are left out. Clips are taken to be single scenes.
    """

    name: str
    step: int

    @property
    def times(self) -> tuple[Fraction, ...]:
        """Where the left-out frames lie between two kept ones."""
        return tuple(Fraction(i, self.step) for i in range(1, self.step))

    @property
    def description(self) -> str:
        left_out = "odd frames from their even neighbours" if self.step == 2 else f"one frame in {self.step} is kept"
        return f"{left_out}; RGB, 8 bit, no border; mean over a clip's new frames, then over clips"

    def runs(self, frames: Iterable[T], intervals: int = 60) -> Iterator[list[T]]:
        """Cut a clip of any length into runs of at most `intervals` kept intervals; neighbours share a kept frame."""
        run: list[T] = []
        for frame in frames:
            run.append(frame)
            if len(run) == intervals * self.step + 1:
                yield run
                run = run[-1:]
        whole = (len(run) - 1) // self.step * self.step
        if whole > 0:
            yield run[: whole + 1]


PROTOCOLS = {
    "interpolation-x2": Interpolation("interpolation-x2", step=2),
    "interpolation-x4": Interpolation("interpolation-x4", step=4),
}
