"""Evaluation of detection: every frame of annotated films, as `refilm detect` sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from refilm.data.annotated import AnnotatedFilm
from refilm.data.compositing import LEAST_VISIBLE
from refilm.errors import UsageError
from refilm.evaluation.average_precision import (
    THRESHOLDS,
    Frame,
    average_precision,
    mean_average_precision,
    overlaps,
)
from refilm.evaluation.stopwatch import Stopwatch
from refilm.stages.detect import Detect
from refilm.stages.detections import Unlinked
from refilm.stages.draw import with_boxes
from refilm.stages.scene_cuts import SceneCuts
from refilm.stages.stage import StreamShape
from refilm.video import Frame as Picture

Array = np.ndarray

LEAST_SCORE = 0.02  # of the detections that are measured
_SHOWN_SCORE = 0.3  # of those that are drawn
_SMALLEST = 6.0  # side of an object that has to be found, at least, in pixels
# Mean overlap of an object with itself in the ten frames before and after, as in FGFA, section 5.
SPEEDS = {"slow": (0.9, 1.01), "medium": (0.7, 0.9), "fast": (-0.01, 0.7)}
_WITHIN = 10
_SHEET_WIDTH, _IN_ROW = 480, 3


@dataclass(frozen=True)
class DetectionFigures:
    """The figures of one film; None where it has no objects that count.

    frames    that were measured
    objects   in these frames, that count
    """

    frames: int
    objects: int
    map50: float | None


@dataclass(frozen=True)
class Detection:
    """A protocol: find the objects in every frame, and compare them with those that are known.

    every   so many frames are one of which is measured; all are seen
    """

    name: str = "detection-frames"
    every: int = 1
    task: str = "detection"
    baselines: Mapping[str, str] = field(default_factory=dict)
    further: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        each = "every frame" if self.every == 1 else f"one of {self.every} frames"
        return (
            f"{each}, as `refilm detect` sees it; average precision over all points. Objects of which less than "
            f"{LEAST_VISIBLE:.0%} is seen, or with a side below {_SMALLEST:g} pixels, do not count. Where not all "
            "objects are known, a detection that touches none of the known ones (overlap below 0.1) does not count"
        )

    def thinned(self, every: int) -> Detection:
        if every < 1:
            raise UsageError(f"every must be at least 1, got {every}")
        return replace(self, name=f"{self.name}-every-{every}", every=every)

    def measure(self, model: Any, device: torch.device, film: AnnotatedFilm, stopwatch: Stopwatch) -> list[Frame]:
        """The detections of a film beside its objects, frame by frame. Raises VideoError if it cannot be read."""
        found = list(self.detected(model, device, film, stopwatch))
        counts = counted(film)
        return [
            judged(found[place], film, place, counts[place], model.labels)
            for place in range(0, min(len(found), len(film.boxes)), self.every)
        ]

    def detected(
        self, model: Any, device: torch.device, film: AnnotatedFilm, stopwatch: Stopwatch
    ) -> Iterator[Unlinked]:
        """The objects of all frames, and the time that the stage takes for one of them."""
        pictures = iter(SceneCuts().mark(film.footage.frames()))
        first = next(pictures)
        shape = StreamShape(first.width, first.height, 1 / first.duration, first.duration, first.time)
        stage = Detect(model, shape, device, LEAST_SCORE)
        for fed, picture in enumerate(_with(first, pictures), 1):
            began = time.perf_counter()
            found = list(stage.push(picture))
            if len(found) == 1 and fed > 2 * stage.past + 1:
                stopwatch.add(time.perf_counter() - began)
            yield from found
        yield from stage.flush()


def _with(first: Picture, rest: Iterator[Picture]) -> Iterator[Picture]:
    yield first
    yield from rest


def counted(film: AnnotatedFilm) -> Array:
    """Which objects have to be found, [T, K]."""
    sides = (film.boxes[..., 2:] - film.boxes[..., :2]).min(axis=2, initial=1e9)
    found: Array = (film.visible >= LEAST_VISIBLE) & (sides >= _SMALLEST)
    return found


def judged(found: Unlinked, film: AnnotatedFilm, place: int, counts: Array, labels: Sequence[str]) -> Frame:
    """The detections of one frame beside its objects."""
    truth = film.boxes[place]
    there = (truth[:, 2] > truth[:, 0]) & np.array([label in labels for label in film.labels], bool)
    kinds = np.array([labels.index(label) if label in labels else -1 for label in film.labels], np.int64)
    return Frame(
        np.array([box.box for box in found.boxes], np.float32).reshape(-1, 4),
        np.array([box.score for box in found.boxes], np.float32),
        np.array([labels.index(box.label) for box in found.boxes], np.int64),
        truth[there],
        kinds[there],
        counts[there],
        film.complete,
    )


def motion_overlap(boxes: Array) -> Array:
    """The mean overlap of each object with itself in the frames before and after. [T, K, 4] -> [T, K], NaN if absent"""
    length, count = boxes.shape[:2]
    found = np.full((length, count), np.nan)
    for column in range(count):
        own = boxes[:, column]
        there = np.flatnonzero(own[:, 2] > own[:, 0])
        pairs = overlaps(own[there], own[there])
        for row, place in enumerate(there):
            near = (abs(there - place) <= _WITHIN) & (there != place)
            found[place, column] = pairs[row, near].mean() if near.any() else 1.0
    return found


def of_speed(frames: Sequence[Frame], film: AnnotatedFilm, every: int, speed: str) -> list[Frame]:
    """The same frames, in which only objects of a speed count; see `SPEEDS`."""
    low, high = SPEEDS[speed]
    overlap, parts = motion_overlap(film.boxes), []
    for number, frame in enumerate(frames):
        place = number * every
        there = film.boxes[place, :, 2] > film.boxes[place, :, 0]
        own = (overlap[place] >= low) & (overlap[place] < high)
        # objects of classes that the model does not know are not in the frame
        kept = own[there] if len(frame.counts) == int(there.sum()) else np.ones(len(frame.counts), bool)
        parts.append(replace(frame, counts=frame.counts & kept))
    return parts


def overall(
    measured: Mapping[str, tuple[AnnotatedFilm, list[Frame]]], labels: Sequence[str], every: int
) -> dict[str, float]:
    """The figures of all films together: mAP at 0.5 and at 0.5 ... 0.95, AP of each class, mAP by speed."""
    frames = [frame for _, found in measured.values() for frame in found]
    figures = {"map50": mean_average_precision(frames, len(labels))}
    figures["map"] = mean_average_precision(frames, len(labels), THRESHOLDS)
    for number, label in enumerate(labels):
        figures[f"ap50_{label}"] = average_precision(frames, number)
    for speed in SPEEDS:
        own = [frame for film, found in measured.values() for frame in of_speed(found, film, every, speed)]
        figures[f"map50_{speed}"] = mean_average_precision(own, len(labels))
    return {name: value for name, value in figures.items() if value is not None}


def write_sheet(path: Path, films: Mapping[str, tuple[AnnotatedFilm, list[Frame]]], labels: Sequence[str]) -> None:
    """A picture of the frame in the middle of each film: what was found in colours, and what there is in white."""
    cards = []
    for film, frames in films.values():
        middle = len(frames) // 2
        place = round(middle * (len(film.boxes) - 1) / max(len(frames) - 1, 1))
        picture = next(frame for number, frame in enumerate(film.footage.frames()) if number == place)
        seen = picture.rgb.clamp(0, 1).permute(1, 2, 0).numpy()
        found = frames[middle]
        shown = [
            {"box": tuple(box.tolist()), "label": labels[label], "score": float(score), "track": 1 + int(label)}
            for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True)
            if score >= _SHOWN_SCORE
        ]
        card = (255 * with_boxes(seen, shown)).round().astype(np.uint8)
        for box, counts in zip(found.truth.round().astype(int).tolist(), found.counts, strict=True):
            left, top, right, bottom = box
            colour = (255, 255, 255) if counts else (128, 128, 128)
            cv2.rectangle(card, (left, top), (right - 1, bottom - 1), colour, 1)
        cards.append(card)
    height = max(round(card.shape[0] * _SHEET_WIDTH / card.shape[1]) for card in cards)
    tiles = [np.zeros((height, _SHEET_WIDTH, 3), np.uint8) for _ in range(-(-len(cards) // _IN_ROW) * _IN_ROW)]
    for tile, card in zip(tiles, cards, strict=False):
        ratio = min(_SHEET_WIDTH / card.shape[1], height / card.shape[0])
        size = round(card.shape[1] * ratio), round(card.shape[0] * ratio)
        small = cv2.resize(card, size, interpolation=cv2.INTER_AREA)
        tile[: small.shape[0], : small.shape[1]] = small
    rows = [np.concatenate(tiles[n : n + _IN_ROW], axis=1) for n in range(0, len(tiles), _IN_ROW)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.ascontiguousarray(np.concatenate(rows)[..., ::-1]))
