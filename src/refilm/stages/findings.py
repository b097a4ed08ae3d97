"""Findings: figures collected for the report, by stages and about the source, as sums over a segment."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from typing import Any, Self

# Ending of the names of findings that are Judged; the rest is the name of the restoration.
JUDGED = " strength"


@dataclass(frozen=True)
class Finding:
    """Sums of one kind over a segment. Findings of several segments are added field by field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class SelfCheck(Finding):
    """How well a model predicts real frames of the film from their two neighbours.

    samples               number of frames predicted
    model, blend, repeat  sums of the mean squared errors of the model, of blending, and of repeating the earlier frame
    """

    samples: int = 0
    model: float = 0.0
    blend: float = 0.0
    repeat: float = 0.0


@dataclass(frozen=True)
class Change(Finding):
    """How much a restoration changes frames.

    frames   number of frames
    change   sum of their mean absolute changes, in 8-bit codes
    """

    frames: int = 0
    change: float = 0.0


@dataclass(frozen=True)
class Judged(Finding):
    """How strongly frames were restored, and the damage that was found on them. See `refilm.stages.damage`.

    frames    number of frames
    strength  sum of the strengths, 0 ... 1 each
    noise     sum of the noise found, in 8-bit levels
    coding    sum of the damage by compression found, 0 ... 1 each
    """

    frames: int = 0
    strength: float = 0.0
    noise: float = 0.0
    coding: float = 0.0

    def means(self) -> dict[str, float]:
        """The means over the frames, by name."""
        return {name: getattr(self, name) / max(self.frames, 1) for name in ("strength", "noise", "coding")}


@dataclass(frozen=True)
class Repeats(Finding):
    """How often frames repeat the one before them.

    frames    number of frames that change, or repeat among such that change; still scenes do not count
    repeats   those of them that repeat
    """

    frames: int = 0
    repeats: int = 0


@dataclass(frozen=True)
class Combs(Finding):
    """How many frames are combed.

    frames     number of frames that were looked at and move
    telecined  those whose fields have their partners in the frame before
    woven      those whose fields are two moments, and have no partners
    """

    frames: int = 0
    telecined: int = 0
    woven: int = 0


# The names of the kinds in the record of a piece.
KINDS: dict[str, type[Finding]] = {
    "self-check": SelfCheck,
    "change": Change,
    "judged": Judged,
    "repeats": Repeats,
    "combs": Combs,
}


def to_json(finding: Finding) -> dict[str, Any]:
    """The finding in JSON's types, with its kind."""
    (kind,) = (name for name, of_kind in KINDS.items() if of_kind is type(finding))
    return {"kind": kind, **asdict(finding)}


def from_json(record: dict[str, Any]) -> Finding:
    """The inverse of `to_json`. Raises KeyError or TypeError if the record is no finding."""
    values = dict(record)
    return KINDS[values.pop("kind")](**values)
