"""Counts and sums over the items of a segment, for the report. Those of all segments are added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from refilm.jobs.segments import SegmentEnd, mean_codes
from refilm.stages import findings
from refilm.stages.findings import Finding
from refilm.video import Frame, ReadLosses


@dataclass
class Tally:
    """Counts and sums over one segment, or several. They are kept with the pieces, so they survive interruptions.

    frames          number of output frames by their origin, see Frame
    events          number of items that are not frames
    made_levels     for each plane, the sum of the mean codes of frames that a model has made
    source_levels   the same of the source's frames
    losses          what could not be read, by the fields of ReadLosses
    findings        the findings of the stages, by name
    """

    frames: Counter[str] = field(default_factory=Counter)
    events: int = 0
    made_levels: list[float] = field(default_factory=list)
    source_levels: list[float] = field(default_factory=list)
    losses: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Finding] = field(default_factory=dict)

    def count(self, item: Any) -> None:
        """Count one item of the output."""
        if not isinstance(item, Frame):
            self.events += 1
            return
        self.frames[item.origin] += 1
        if item.origin in ("new", "restored"):
            self.made_levels = _sums(self.made_levels, mean_codes(item))

    def close(self, end: SegmentEnd, losses: dict[str, float]) -> None:
        """Add what is known at the end of a segment."""
        self.losses.update(losses)
        self.source_levels = _sums(self.source_levels, end.levels)
        self.findings = dict(end.findings)

    def __add__(self, other: Tally) -> Tally:
        both = {name: found + other.findings[name] for name, found in self.findings.items() if name in other.findings}
        return Tally(
            self.frames + other.frames,
            self.events + other.events,
            _sums(self.made_levels, other.made_levels),
            _sums(self.source_levels, other.source_levels),
            self.losses + other.losses,
            self.findings | other.findings | both,
        )

    def read_losses(self) -> ReadLosses:
        found = {name: self.losses.get(name, 0) for name in vars(ReadLosses())}
        seconds = found.pop("missing_seconds")
        return ReadLosses(**{name: round(value) for name, value in found.items()}, missing_seconds=float(seconds))

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"findings": {name: findings.to_json(found) for name, found in self.findings.items()}}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Tally:
        """The inverse of `to_json`. Raises KeyError or TypeError if the record is no tally."""
        found = {name: findings.from_json(entry) for name, entry in record["findings"].items()}
        counters = {name: Counter(record[name]) for name in ("frames", "losses")}
        return cls(**record | counters | {"findings": found})


def total(tallies: Iterable[Tally]) -> Tally:
    return sum(tallies, start=Tally())


def _sums(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a + b for a, b in zip_longest(first, second, fillvalue=0.0)]
