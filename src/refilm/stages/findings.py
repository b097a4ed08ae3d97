"""What stages notice while they work, for the report: sums over a segment, which add up over a job's segments."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Finding:
    """Numbers of one kind. Those of two segments are added field by field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class SelfCheck(Finding):
    """How well frames of this very film are predicted from their neighbours: summed mean squared errors, samples."""

    samples: int = 0
    model: float = 0.0
    blend: float = 0.0
    repeat: float = 0.0


@dataclass(frozen=True)
class Change(Finding):
    """How much a restoration changes frames: the sum of their mean absolute changes, in codes of 8 bit."""

    frames: int = 0
    change: float = 0.0


# What a finding is called in the record of a piece.
KINDS: dict[str, type[Finding]] = {"self-check": SelfCheck, "change": Change}


def to_json(finding: Finding) -> dict[str, Any]:
    (kind,) = (name for name, of_kind in KINDS.items() if of_kind is type(finding))
    return {"kind": kind, **asdict(finding)}


def from_json(record: dict[str, Any]) -> Finding:
    """The inverse of `to_json`. Raises KeyError or TypeError for what is no finding."""
    values = dict(record)
    return KINDS[values.pop("kind")](**values)
