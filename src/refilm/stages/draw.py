"""The stage that draws the objects of a film into its frames, from a file that detection has written."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from refilm.stages.demand import Demand
from refilm.stages.findings import Finding
from refilm.stages.stage import Stage, StreamShape
from refilm.video import Frame, VideoInfo

# Thickness of lines and height of letters, relative to the short side of the picture.
_LINE, _LETTERS = 1 / 240, 1 / 40
_LETTER_PIXELS = 22  # height of OpenCV's letters at scale 1
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Turn of the hue from one track to the next: the golden ratio, so that neighbours differ.
_HUE = 0.618034


@dataclass(frozen=True)
class DrawStages:
    """Makes the stage that draws the boxes of a file; see `refilm.jobs.pieces.PieceSpec.make_stage`.

    boxes   JSON lines in order of time, as `refilm.jobs.detections.DetectionLines` writes them
    """

    boxes: Path

    def __call__(self, source: VideoInfo, tile: int | None) -> Stage:
        return Draw(self.boxes, source.film_start, source.rotation)


class Draw:
    """Draws into each frame the boxes that a file has for its time. Frames without boxes stay as they are.

    The file is read along with the film, from the first frame on that is drawn into, which is found by bisection.
    """

    keeps_rate = True
    past = future = skip = 0
    findings: dict[str, Finding] = {}  # noqa: RUF012  # nothing to note

    def __init__(self, boxes: Path, zero: Fraction, rotation: int = 0) -> None:
        self._path, self._zero, self._turns = boxes, zero, round(rotation / 90) % 4
        self._rows: Iterator[tuple[Fraction, list[dict[str, Any]]]] | None = None
        self._next: tuple[Fraction, list[dict[str, Any]]] | None = None

    def shape(self, source: StreamShape) -> StreamShape:
        return source

    def demands(self, source: StreamShape) -> list[Demand]:
        # the picture as RGB in single precision, and what is drawn over it
        return [Demand("draw", 0.0, around=20.0 * source.width * source.height)]

    def push(self, frame: Frame) -> Iterator[Frame]:
        boxes = self._at(frame.time - self._zero)
        yield replace(frame.with_rgb(_drawn(frame, boxes, self._turns)), origin="restored") if boxes else frame

    def flush(self) -> Iterator[Frame]:
        self._rows = self._next = None
        return iter(())

    def _at(self, time: Fraction) -> list[dict[str, Any]]:
        if self._rows is None:
            self._rows = rows_from(self._path, time)
            self._next = next(self._rows, None)
        while self._next is not None and self._next[0] < time:
            self._next = next(self._rows, None)
        return self._next[1] if self._next is not None and self._next[0] == time else []


def rows_from(path: Path, time: Fraction) -> Iterator[tuple[Fraction, list[dict[str, Any]]]]:
    """(time, boxes) for each line of a file, from one at or before the first with at least this time."""
    with path.open("rb") as file:
        file.seek(0, 2)
        low, high = 0, file.tell()  # the line that begins at or after `low` is too early; that after `high` is not
        while high - low > 1:
            middle = (low + high) // 2
            file.seek(middle)
            file.readline()
            line = file.readline()
            if line and Fraction(json.loads(line)["at"]) < time:
                low = middle
            else:
                high = middle
        file.seek(low)
        if low:
            file.readline()
        for line in file:
            record = json.loads(line)
            yield Fraction(record["at"]), record["boxes"]


def _drawn(frame: Frame, boxes: list[dict[str, Any]], turns: int) -> torch.Tensor:
    """The picture of a frame with boxes, [3, H, W]; letters are upright as players show it."""
    picture = np.rot90(frame.rgb.permute(1, 2, 0).numpy(), turns)
    upright = [box | {"box": _turned(box["box"], turns, frame.width, frame.height)} for box in boxes]
    whole = with_boxes(picture, upright)
    return torch.from_numpy(np.ascontiguousarray(np.rot90(whole, -turns).transpose(2, 0, 1)))


def with_boxes(picture: np.ndarray, boxes: Sequence[dict[str, Any]]) -> np.ndarray:
    """A picture with boxes, as `Box.as_json` gives them, the surest in front. [H, W, 3], RGB in [0, 1]"""
    ink = np.zeros((*picture.shape[:2], 3), np.uint8)
    covered = np.zeros(picture.shape[:2], np.uint8)
    for box in reversed(boxes):
        _draw(ink, covered, box["box"], box)
    return np.where(covered[..., None] > 0, ink.astype(np.float32) / 255, picture)


def _turned(box: list[float], turns: int, width: int, height: int) -> tuple[float, float, float, float]:
    """A box of a picture of that size, in the picture turned by quarters counter-clockwise."""
    left, top, right, bottom = box
    for _ in range(turns):
        left, top, right, bottom = top, width - right, bottom, width - left
        width, height = height, width
    return left, top, right, bottom


def _draw(ink: np.ndarray, covered: np.ndarray, box: tuple[float, float, float, float], told: dict[str, Any]) -> None:
    height, width = covered.shape
    short = min(height, width)
    line = max(round(_LINE * short), 1)
    left, top, right, bottom = (round(side) for side in box)
    colour = colour_of(told["track"])
    for target, value in ((ink, colour), (covered, (255,))):
        cv2.rectangle(target, (left, top), (right - 1, bottom - 1), value, line)
    text = f"{told['label']} {told['track']}  {told['score']:.0%}"
    scale = max(_LETTERS * short / _LETTER_PIXELS, 0.3)
    (wide, high), below = cv2.getTextSize(text, _FONT, scale, line)
    # above the box where there is room, else within it
    base = top - below if top - high - below >= 0 else top + high + line
    x = min(max(left, 0), max(width - wide, 0))
    for target, value in ((ink, colour), (covered, (255,))):
        cv2.rectangle(target, (x, base - high - 2), (x + wide, base + below - 1), value, cv2.FILLED)
    cv2.putText(ink, text, (x, base), _FONT, scale, (0, 0, 0), line, cv2.LINE_AA)


def colour_of(track: int) -> tuple[float, float, float]:
    """A light colour for a track, RGB in 8 bits."""
    red, green, blue = (round(255 * level) for level in colorsys.hsv_to_rgb(_HUE * track % 1, 0.6, 1.0))
    return red, green, blue
