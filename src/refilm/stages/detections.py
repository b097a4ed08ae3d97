"""What a detector says about a film: the objects in each frame, with numbers that follow them from frame to frame.

This module does not load torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

# Decimals of coordinates, in pixels, and of scores: fewer than the model's own uncertainty needs.
BOX_DIGITS, SCORE_DIGITS = 1, 4


class Box(NamedTuple):
    """One object in one frame.

    box     left, top, right and bottom, in pixels of the film's frames
    label   name of its class
    score   how sure the detector is, 0 ... 1
    track   number of the object, from 1 on, by which it is followed through the film
    """

    box: tuple[float, float, float, float]
    label: str
    score: float
    track: int

    def as_json(self) -> dict[str, Any]:
        return {"box": list(self.box), "label": self.label, "score": self.score, "track": self.track}


@dataclass(frozen=True)
class Detections:
    """The objects in one frame.

    frame   number of the frame, from 0 on
    time    in seconds since the film's first frame
    boxes   the surest first
    """

    frame: int
    time: Fraction
    boxes: tuple[Box, ...]

    def as_json(self) -> dict[str, Any]:
        """In JSON's types."""
        return {"frame": self.frame, "time": float(self.time), "boxes": [box.as_json() for box in self.boxes]}


@dataclass(frozen=True)
class Unlinked:
    """The objects of one frame before they are linked; their `track` is 0.

    time          in seconds on the source's clock
    starts_scene  whether a scene begins with the frame
    """

    time: Fraction
    starts_scene: bool
    boxes: tuple[Box, ...]

    def as_json(self) -> dict[str, Any]:
        rows = [[*box.box, box.label, box.score] for box in self.boxes]
        return {"time": str(self.time), "starts_scene": self.starts_scene, "boxes": rows}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Unlinked:
        boxes = tuple(Box((x0, y0, x1, y1), label, score, 0) for x0, y0, x1, y1, label, score in record["boxes"])
        return cls(Fraction(record["time"]), record["starts_scene"], boxes)
