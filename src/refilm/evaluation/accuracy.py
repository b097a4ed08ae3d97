"""Figures of recognisers: which share of clips is told right, and what is taken for what."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

# In the picture of a confusion matrix: pixels of a cell, and of a line of text.
_CELL, _TEXT = 44, 8
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Verdict:
    """What was told of one clip.

    frames       shown to the model, all views together
    label        of the clip
    told         the label with the highest score; "" if none was told
    top1, top5   100 if the clip's label has the highest score, or is among the five highest; else 0. Of chance, what is
                 to be expected
    fold         in which the clip was held out
    """

    frames: int
    label: str
    told: str
    top1: float
    top5: float
    fold: str = ""


def balanced_accuracy(hits: Sequence[float], labels: Sequence[str]) -> float:
    """The mean over classes of the mean over the clips of a class, also called mean class accuracy.

    hits     for each clip 1 or 100 if it is told right, else 0
    labels   of each clip
    """
    recalls = recall(hits, labels)
    return sum(recalls.values()) / len(recalls)


def recall(hits: Sequence[float], labels: Sequence[str]) -> dict[str, float]:
    """By class, the mean of the hits over its clips."""
    of_class: dict[str, list[float]] = {}
    for hit, label in zip(hits, labels, strict=True):
        of_class.setdefault(label, []).append(hit)
    return {label: sum(column) / len(column) for label, column in sorted(of_class.items())}


def overall(verdicts: Mapping[str, Verdict]) -> dict[str, float]:
    """The figures that are no means over clips."""
    hits, labels = [v.top1 for v in verdicts.values()], [v.label for v in verdicts.values()]
    return {"balanced": balanced_accuracy(hits, labels)}


def confusion(labels: Sequence[str], pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """How often clips of each class (a row) are told to be of each class (a column). -> [K, K], whole numbers

    pairs   for each clip, its label and what was told
    """
    counts = np.zeros((len(labels), len(labels)), int)
    for label, told in pairs:
        counts[labels.index(label), labels.index(told)] += 1
    return counts


def write_confusion(path: Path, labels: Sequence[str], counts: np.ndarray) -> None:
    """Write a confusion matrix as PATH.csv and, as a picture, PATH.png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["clips of \\ told to be", *labels])
        table.writerows([label, *row] for label, row in zip(labels, counts.tolist(), strict=True))
    cv2.imwrite(str(path.with_name(f"{path.name}.png")), picture_of(labels, counts))


def picture_of(labels: Sequence[str], counts: np.ndarray) -> np.ndarray:
    """A confusion matrix as a picture: a row for each class, darker where more of its clips are told to be of a class.

    [K, K] -> [H, W, 3], uint8
    """
    margin = max(_TEXT * len(label) for label in labels) + 2 * _TEXT
    side = margin + _CELL * len(labels) + _TEXT
    picture = np.full((side, side, 3), 255, np.uint8)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, label in enumerate(labels):
        baseline = margin + row * _CELL + _CELL // 2 + 4
        _write(picture, label, (margin - _TEXT - _TEXT * len(label), baseline))
        for column in range(len(labels)):
            y, x = margin + row * _CELL, margin + column * _CELL
            level = round(255 * (1 - shares[row, column]))
            # blue where it is right, orange where it is not; OpenCV keeps colours as B, G, R
            colour = (255, 128 + level // 2, level) if row == column else (level, 128 + level // 2, 255)
            cv2.rectangle(picture, (x, y), (x + _CELL - 2, y + _CELL - 2), colour, -1)
            if counts[row, column]:
                count = str(counts[row, column])
                _write(picture, count, (x + (_CELL - _TEXT * len(count)) // 2, baseline))
    # the names of the columns are written upwards
    names = np.full((side, margin, 3), 255, np.uint8)
    for column, label in enumerate(labels):
        _write(names, label, (_TEXT, margin + column * _CELL + _CELL // 2 + 4))
    picture[:margin, :] = np.minimum(picture[:margin, :], np.rot90(names))
    return picture


def _write(picture: np.ndarray, text: str, place: tuple[int, int]) -> None:
    cv2.putText(picture, text, place, _FONT, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
