"""Linking of detections over time by SORT: a Kalman filter foretells each box, and the overlaps with it decide.

Source   Bewley et al., "Simple Online and Realtime Tracking", ICIP 2016, arXiv 1602.00763; the assignment is SciPy's.
Departs  every detection gets a number at once, as what is told of a frame must not depend on later ones; the paper
         keeps back the first frames of an object. Boxes of different classes are not linked. At a scene cut, all
         objects end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np
from scipy.optimize import linear_sum_assignment

from refilm.stages.detections import Detections, Unlinked

Detection = tuple[Sequence[float], str, float]  # box, label, score

# Least overlap of a box with the foretold one, as in the paper; and how many frames in a row an object may be missing.
LEAST_OVERLAP, MOST_MISSING = 0.3, 5
# Variances in the state's units of pixels and square pixels, those of the authors' program. State: the middle, the area
# and the aspect of a box, and the speeds of the first three per frame.
_MEASURED = np.diag([1.0, 1.0, 10.0, 10.0])
_AT_START = np.diag([10.0, 10.0, 10.0, 10.0, 1e4, 1e4, 1e4])
_DRIFT = np.diag([1.0, 1.0, 1.0, 1.0, 0.01, 0.01, 1e-4])
_STEP = np.eye(7) + np.eye(7, k=4)
_SEEN = np.eye(4, 7)


class _Track:
    """One object: its state, as a Kalman filter knows it."""

    def __init__(self, number: int, box: Sequence[float], label: str) -> None:
        self.number, self.label, self.missing = number, label, 0
        self._state = np.concatenate([_measured(box), np.zeros(3)])
        self._covariance = _AT_START.copy()

    def foretell(self) -> np.ndarray:
        """Go on by a frame. -> the box where it is expected, [4]"""
        if self._state[2] + self._state[6] <= 0:  # no area becomes negative
            self._state[6] = 0
        self._state = _STEP @ self._state
        self._covariance = _STEP @ self._covariance @ _STEP.T + _DRIFT
        return _box(self._state)

    def see(self, box: Sequence[float]) -> None:
        """Correct the state by the box that was found."""
        self.missing = 0
        uncertain = _SEEN @ self._covariance @ _SEEN.T + _MEASURED
        gain = np.linalg.solve(uncertain, _SEEN @ self._covariance).T
        self._state = self._state + gain @ (_measured(box) - _SEEN @ self._state)
        self._covariance = self._covariance - gain @ _SEEN @ self._covariance


class Linking:
    """Follows the objects of a film. Keeps those that are seen, and those that have been missing for a few frames."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._next, self._count = 1, 0

    def over(self, frames: Iterable[Unlinked], zero: Fraction = Fraction(0)) -> Iterator[Detections]:
        """The objects of a whole film; see `of`."""
        for frame in frames:
            yield self.of(frame, zero)

    def of(self, frame: Unlinked, zero: Fraction = Fraction(0)) -> Detections:
        """The objects of the next frame, with their numbers; frames count from 0 on. `zero`: the time that is 0."""
        tracks = self.push([(box.box, box.label, box.score) for box in frame.boxes], frame.starts_scene)
        boxes = tuple(box._replace(track=track) for box, track in zip(frame.boxes, tracks, strict=True))
        self._count += 1
        return Detections(self._count - 1, frame.time - zero, boxes)

    def push(self, detections: Sequence[Detection], starts_scene: bool = False) -> list[int]:
        """Takes the detections of the next frame, and gives the number of each one's object, from 1 on."""
        if starts_scene:
            self._tracks = []
        expected = [track.foretell() for track in self._tracks]
        numbers = [0] * len(detections)
        unseen = set(range(len(self._tracks)))
        if expected and detections:
            overlap = _overlaps(np.array([box for box, _, _ in detections]), np.array(expected))
            same = np.array([[label == track.label for track in self._tracks] for _, label, _ in detections])
            overlap = np.where(same, overlap, 0.0)
            for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
                if overlap[row, column] >= LEAST_OVERLAP:
                    self._tracks[column].see(detections[row][0])
                    numbers[row] = self._tracks[column].number
                    unseen.discard(int(column))
        for place in unseen:
            self._tracks[place].missing += 1
        for place, (box, label, _) in enumerate(detections):
            if not numbers[place]:
                numbers[place] = self._next
                self._tracks.append(_Track(self._next, box, label))
                self._next += 1
        self._tracks = [track for track in self._tracks if track.missing <= MOST_MISSING]
        return numbers


def _measured(box: Sequence[float]) -> np.ndarray:
    """The middle, the area, and width / height of a box."""
    width, height = max(box[2] - box[0], 1e-3), max(box[3] - box[1], 1e-3)
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, width * height, width / height])


def _box(state: np.ndarray) -> np.ndarray:
    """The inverse, of a state."""
    x, y, area, aspect = state[:4]
    width = np.sqrt(max(area * aspect, 1e-6))
    height = max(area, 1e-6) / width
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union. [A, 4], [B, 4] -> [A, B]"""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inner = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (first, second)]
    found: np.ndarray = inner / np.maximum(areas[0][:, None] + areas[1][None] - inner, 1e-6)
    return found
