"""A picture of what happens in a film: a card for each event, with a frame, the time, and the likeliest labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from refilm.jobs.in_words import clock
from refilm.stages.timeline import Event

# Cards in a picture, at most, and in a row.
MOST_CARDS, _IN_ROW = 96, 6
# Sizes in pixels.
_WIDTH, _PICTURE_HEIGHT, _LINE, _MARGIN = 240, 136, 20, 8
_LABELS = 3  # on a card, at most
_BACKGROUND, _INK, _FAINT, _BAR = (24, 24, 24), (240, 240, 240), (150, 150, 150), (90, 130, 60)  # BGR
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.42


class Card(NamedTuple):
    """An event, and a frame of it as JPEG."""

    event: Event
    picture: bytes


def draw(cards: Sequence[Card], shape: float) -> bytes:
    """The picture of all cards as PNG. `shape`: width / height of the film's pictures, as they are shown."""
    drawn = [_drawn(card, shape) for card in cards]
    empty = np.full_like(drawn[0], _BACKGROUND)
    across = min(_IN_ROW, len(drawn))
    drawn += [empty] * (-len(drawn) % across)
    rows = [np.concatenate(drawn[start : start + across], axis=1) for start in range(0, len(drawn), across)]
    encoded: tuple[bool, Any] = cv2.imencode(".png", np.concatenate(rows))
    return bytes(encoded[1])


def _drawn(card: Card, shape: float) -> np.ndarray:
    height = _PICTURE_HEIGHT + (1 + _LABELS) * _LINE + 2 * _MARGIN
    canvas = np.full((height, _WIDTH, 3), _BACKGROUND, np.uint8)
    room = _WIDTH - 2 * _MARGIN
    size = _fitting(shape, room, _PICTURE_HEIGHT)
    frame: Any = cv2.imdecode(np.frombuffer(card.picture, np.uint8), cv2.IMREAD_COLOR)
    left, top = (_WIDTH - size[0]) // 2, _MARGIN + (_PICTURE_HEIGHT - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    baseline = _MARGIN + _PICTURE_HEIGHT + _LINE - 6
    _write(canvas, f"{clock(card.event.start)} to {clock(card.event.end)}", baseline, _FAINT)
    for label, score in card.event.labels[:_LABELS]:
        baseline += _LINE
        end = _MARGIN + max(round(room * score), 1)
        cv2.rectangle(canvas, (_MARGIN, baseline - _LINE + 8), (end, baseline + 4), _BAR, cv2.FILLED)
        _write(canvas, f"{score:4.0%} {label}", baseline, _INK)
    return canvas


def _fitting(shape: float, width: int, height: int) -> tuple[int, int]:
    """The largest (width, height) of this shape that fits."""
    if shape * height > width:
        return width, max(round(width / shape), 1)
    return max(round(height * shape), 1), height


def _write(canvas: np.ndarray, text: str, baseline: int, ink: tuple[int, int, int]) -> None:
    # OpenCV draws the letters of ASCII alone
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, (_MARGIN + 2, baseline), _FONT, _SIZE, ink, 1, cv2.LINE_AA)
