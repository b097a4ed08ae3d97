"""Findings: figures that a stage collects for the report, as sums over a segment."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from typing import Any, Self


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


# The names of the kinds in the record of a piece.
KINDS: dict[str, type[Finding]] = {"self-check": SelfCheck, "change": Change}


def to_json(finding: Finding) -> dict[str, Any]:
    """The finding in JSON's types, with its kind."""
    (kind,) = (name for name, of_kind in KINDS.items() if of_kind is type(finding))
    return {"kind": kind, **asdict(finding)}


def from_json(record: dict[str, Any]) -> Finding:
    """The inverse of `to_json`. Raises KeyError or TypeError if the record is no finding."""
    values = dict(record)
    return KINDS[values.pop("kind")](**values)
