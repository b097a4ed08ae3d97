"""Plots for results/: curves over an axis, paths in a plane, bars, and sheets of pictures, drawn by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

INK, FAINT = (60, 50, 40), (205, 200, 190)  # blue, green, red, as OpenCV has them
COLOURS = (
    (60, 60, 200), (180, 120, 30), (70, 150, 60), (150, 150, 150), (30, 150, 230),
    (170, 60, 140), (150, 170, 30), (60, 90, 130), (120, 60, 60), (0, 0, 0),
)  # fmt: skip
_MARGIN = 46
_LEGEND, _ROW = 0.38, 16  # size of its text, and pixels of a row
_FINE = 3  # bits of a pixel in which OpenCV takes places


@dataclass(frozen=True)
class Line:
    """A line of a plot: `points` [T, 2], its name in the legend ("" for none), and which of COLOURS it has."""

    points: np.ndarray
    name: str = ""
    colour: int = 0


def plot(
    lines: Sequence[Line], title: str, size: tuple[int, int] = (420, 300), dots: np.ndarray | None = None
) -> np.ndarray:
    """Lines, and faint dots [N, 2] behind them, in axes that hold them all. -> [H, W, 3], blue, green, red

    The picture is higher than asked for where the names take more than a row.
    """
    width, height = size
    named = [line for line in lines if line.name]
    entry = 34 + max((_width(line.name, _LEGEND) for line in named), default=0)
    in_a_row = max((width - _MARGIN) // entry, 1)
    rows = -(-len(named) // in_a_row)
    picture = np.full((height + max(rows - 1, 0) * _ROW, width, 3), 255, np.uint8)
    every = np.concatenate([line.points for line in lines] + ([] if dots is None else [dots]))
    low, high = every.min(axis=0), every.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    low, high = low - 0.04 * spread, high + 0.04 * spread
    inside = np.array([width - _MARGIN - 14, height - 2 * _MARGIN])

    def at(points: np.ndarray) -> np.ndarray:
        share = (points - low) / (high - low)
        places = np.stack([_MARGIN + share[:, 0] * inside[0], height - _MARGIN - share[:, 1] * inside[1]], axis=1)
        return np.round(places * 2**_FINE).astype(np.int32)

    if dots is not None:
        for place in at(dots):
            cv2.circle(picture, place.tolist(), 1 << _FINE, FAINT, -1, cv2.LINE_AA, _FINE)
    for line in lines:
        colour = COLOURS[line.colour % len(COLOURS)]
        cv2.polylines(picture, [at(line.points)], False, colour, 1, cv2.LINE_AA, _FINE)
    corner, end = (_MARGIN, height - _MARGIN), (width - 14, _MARGIN)
    cv2.rectangle(picture, corner, end, INK, 1)
    write_text(picture, title, (_MARGIN, 18), 0.45)
    for axis, values in enumerate(zip(low, high, strict=True)):
        for share, value in zip((0.0, 1.0), values, strict=True):
            place = (
                (int(_MARGIN + share * (inside[0] - 24)), height - _MARGIN + 16)
                if axis == 0
                else (4, int(height - _MARGIN - share * (inside[1] - 10)))
            )
            write_text(picture, f"{value:.3g}", place, 0.36)
    for number, line in enumerate(named):
        place = (_MARGIN + entry * (number % in_a_row), height - 10 + _ROW * (number // in_a_row))
        cv2.line(picture, place, (place[0] + 14, place[1]), COLOURS[line.colour % len(COLOURS)], 2)
        write_text(picture, line.name, (place[0] + 18, place[1] + 4), _LEGEND)
    return picture


@dataclass(frozen=True)
class Bars:
    """A group of bars: its name, and for each bar its value in % and the spread of that, or None."""

    name: str
    values: Sequence[tuple[float, float | None]]


def bars(groups: Sequence[Bars], names: Sequence[str], title: str, width: int = 720) -> np.ndarray:
    """Groups of horizontal bars from 0 to 100 %, one bar for each of `names`. -> [H, W, 3], blue, green, red"""
    thick, gap, left, right = 12, 10, 230, 110
    each = thick * len(names) + gap
    picture = np.full((2 * _MARGIN + each * len(groups), width, 3), 255, np.uint8)
    scale = (width - left - right) / 100
    write_text(picture, title, (8, 18), 0.45)
    for row, group in enumerate(groups):
        top = _MARGIN + row * each
        write_text(picture, group.name, (8, top + (each - gap) // 2 + 4), 0.4)
        for number, (value, spread) in enumerate(group.values):
            y = top + number * thick
            end = round(left + scale * value)
            cv2.rectangle(picture, (left, y + 1), (end, y + thick - 2), COLOURS[number % len(COLOURS)], -1)
            if spread is not None:
                low, high = (round(left + scale * min(max(v, 0), 100)) for v in (value - spread, value + spread))
                cv2.line(picture, (low, y + thick // 2), (high, y + thick // 2), INK, 1)
                end = max(end, high)
            write_text(picture, f"{value:.1f}", (end + 5, y + thick - 2), 0.36)
    for number, name in enumerate(names):
        place = (left + 110 * number, picture.shape[0] - 14)
        cv2.rectangle(picture, (place[0], place[1] - 8), (place[0] + 14, place[1]), COLOURS[number % len(COLOURS)], -1)
        write_text(picture, name, (place[0] + 18, place[1]), 0.38)
    return picture


def seen_from_the_side(points: Tensor) -> np.ndarray:
    """Points [N, 3] of a surface, in a plane: x to the right, z up, and y towards the back. -> [N, 2]"""
    x, y, z = points.double().numpy().T
    return np.stack([x + 0.45 * y, z + 0.3 * y], axis=1)


def sheet(rows: Sequence[Tensor], names: Sequence[str], enlarge: int) -> np.ndarray:
    """Rows of pictures [K, C, H, W] in [0, 1], each with its name before it. -> [H, W, 3], blue, green, red"""
    drawn = []
    for row, name in zip(rows, names, strict=True):
        flat = row.expand(-1, 3, -1, -1).permute(2, 0, 3, 1).flatten(1, 2)  # [H, K W, 3]
        codes = flat.mul(255).round().byte().numpy()[..., ::-1]
        strip = cv2.resize(np.ascontiguousarray(codes), None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_NEAREST)
        label = np.full((strip.shape[0], 150, 3), 255, np.uint8)
        write_text(label, name, (4, strip.shape[0] // 2 + 4), 0.38)
        drawn.append(np.concatenate([label, strip], axis=1))
    return np.concatenate(drawn)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write [H, W, 3], blue, green, red, as PNG. Folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


def _width(text: str, size: float) -> int:
    """Pixels that a line of text takes."""
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0])


def write_text(picture: np.ndarray, text: str, place: tuple[int, int], size: float) -> None:
    """Write a line into a picture; `place` (x, y) is where it begins, at the foot of its letters."""
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
