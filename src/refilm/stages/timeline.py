"""What a recogniser says about a film over time: scores of stretches, and the events that are made of them.

This module does not load torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any, NamedTuple

# Decimals of scores: as many as tell them apart, and few enough that all machines agree on them.
DIGITS = 6


class Label(NamedTuple):
    """A class of a recogniser, and how sure it is of it, 0 ... 1."""

    label: str
    score: float


@dataclass(frozen=True)
class Event:
    """What happens from `start` to `end`, in seconds.

    labels   the likeliest first
    """

    start: Fraction
    end: Fraction
    labels: tuple[Label, ...]

    @property
    def label(self) -> str:
        """The likeliest label."""
        return self.labels[0].label

    def as_json(self) -> dict[str, Any]:
        """The event in JSON's types."""
        return {
            "start": float(self.start),
            "end": float(self.end),
            "labels": [{"label": label, "score": score} for label, score in self.labels],
        }


@dataclass(frozen=True)
class Stretch:
    """A stretch of film that a recogniser has seen at once.

    time, end   when it begins and ends, in seconds on the source's clock
    closes      whether an event ends with it; if not, the next stretch belongs to the same event
    scores      of all labels, in the recogniser's order; their sum is 1
    picture     its middle frame as JPEG; b"" if none was asked for
    """

    time: Fraction
    end: Fraction
    closes: bool
    scores: tuple[float, ...]
    picture: bytes = b""

    @property
    def best(self) -> int:
        """The place of the likeliest label."""
        return self.scores.index(max(self.scores))

    def as_json(self) -> dict[str, Any]:
        record = {"start": str(self.time), "end": str(self.end), "closes": self.closes, "scores": list(self.scores)}
        return record | ({"picture": self.picture.hex()} if self.picture else {})

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Stretch:
        times = Fraction(record["start"]), Fraction(record["end"])
        return cls(*times, record["closes"], tuple(record["scores"]), bytes.fromhex(record.get("picture", "")))


class Joining:
    """Joins stretches to one for each event: scores are means over time, and the picture is that of the longest part.

    alike   whether neighbouring events of the same likeliest label are joined as well, for people to read
    """

    def __init__(self, alike: bool = False) -> None:
        self._alike = alike
        self._parts: list[Stretch] = []  # of the event that is going on
        self._events: list[Stretch] = []  # complete ones of the same label

    def push(self, stretch: Stretch) -> Iterator[Stretch]:
        self._parts.append(stretch)
        if stretch.closes:
            yield from self._complete()

    def flush(self) -> Iterator[Stretch]:
        if self._parts:
            yield from self._complete()
        if self._events:
            yield _join(self._events)
        self._events = []

    def over(self, stretches: Iterable[Stretch]) -> Iterator[Stretch]:
        """The events of a whole film."""
        for stretch in stretches:
            yield from self.push(stretch)
        yield from self.flush()

    def _complete(self) -> Iterator[Stretch]:
        whole, self._parts = _join(self._parts), []
        if not self._alike:
            yield whole
            return
        if self._events and self._events[-1].best != whole.best:
            yield _join(self._events)
            self._events = []
        self._events.append(whole)


def event_of(stretch: Stretch, labels: Sequence[str], topk: int, zero: Fraction = Fraction(0)) -> Event:
    """The event of a whole stretch, with the `topk` likeliest labels.

    labels   names of the classes, in the order of the scores
    zero     the time from which the event is counted
    """
    best = sorted(range(len(labels)), key=lambda place: -stretch.scores[place])[:topk]
    named = tuple(Label(labels[place], stretch.scores[place]) for place in best)
    return Event(stretch.time - zero, stretch.end - zero, named)


def condensed(stretches: Iterable[Stretch], count: int, most: int) -> Iterator[Stretch]:
    """At most `most` stretches, each of as many neighbours as that takes; `count`: how many there are."""
    rest, each = iter(stretches), -(-count // most)
    while parts := list(islice(rest, each)):
        yield _join(parts)


def _join(parts: Sequence[Stretch]) -> Stretch:
    if len(parts) == 1:
        return parts[0]
    lengths = [part.end - part.time for part in parts]
    shares = [float(length / sum(lengths)) for length in lengths]
    scores = (
        round(sum(share * score for share, score in zip(shares, of_label, strict=True)), DIGITS)
        for of_label in zip(*(part.scores for part in parts), strict=True)
    )
    picture = parts[lengths.index(max(lengths))].picture
    return Stretch(parts[0].time, parts[-1].end, parts[-1].closes, tuple(scores), picture)
