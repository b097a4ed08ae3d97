"""Average precision of detections, as ImageNet VID and COCO measure it.

The detections of a class are taken from the likeliest on, over all frames. Each is right if it overlaps an object of
its class enough that no likelier one has taken; the best overlapped one counts. AP is the area below the curve of
precision over recall, where precision is the largest at this or a higher recall (all points, as ImageNet does). mAP is
the mean over the classes that have objects.

Objects may be there that do not count: they are neither missed nor wrongly found. In frames where not all objects are
known, a detection is wrong only if it overlaps a known object by `TOUCHES` and does not fit it; one that touches none
does not count, as nothing says that it is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

TOUCHES = 0.1
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # of COCO's AP


@dataclass(frozen=True)
class Frame:
    """The detections and the objects of one frame.

    boxes, scores, labels   of the detections: [D, 4], [D] and [D], in pixels, indices of classes
    truth, kinds            of the objects: [K, 4] and [K]
    counts                  [K], which objects count
    complete                whether all objects are known
    """

    boxes: Array
    scores: Array
    labels: Array
    truth: Array
    kinds: Array
    counts: Array
    complete: bool = True


def average_precision(frames: Sequence[Frame], label: int, threshold: float = 0.5) -> float | None:
    """The AP of a class, in %; None if there are no objects of it that count."""
    wanted = sum(int((frame.counts & (frame.kinds == label)).sum()) for frame in frames)
    if not wanted:
        return None
    scores: list[Array] = []
    hits: list[Array] = []
    for frame in frames:
        verdicts, own = _verdicts(frame, label, threshold)
        scores.append(own[verdicts >= 0])
        hits.append(verdicts[verdicts >= 0])
    right = np.concatenate(hits)[np.argsort(-np.concatenate(scores), kind="stable")]
    found = np.cumsum(right)
    precision = found / np.arange(1, len(found) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return 100.0 * float((best * right).sum() / wanted)


def mean_average_precision(frames: Sequence[Frame], classes: int, thresholds: Sequence[float] = (0.5,)) -> float | None:
    """The mean over classes, and over thresholds; None if there are no objects."""
    found = [average_precision(frames, label, each) for each in thresholds for label in range(classes)]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def _verdicts(frame: Frame, label: int, threshold: float) -> tuple[Array, Array]:
    """For each detection of a class, likeliest first: 1 right, 0 wrong, -1 it does not count; and their scores."""
    own = np.flatnonzero(frame.labels == label)
    own = own[np.argsort(-frame.scores[own], kind="stable")]
    overlap = overlaps(frame.boxes[own], frame.truth)
    same = frame.kinds == label
    free = same.copy()
    verdicts = np.zeros(len(own), np.int64)
    for place, row in enumerate(overlap):
        # objects that count first, then the others
        for counted in (True, False):
            candidates = np.flatnonzero(free & (frame.counts == counted) & (row >= threshold))
            if len(candidates):
                taken = candidates[np.argmax(row[candidates])]
                free[taken] = False
                verdicts[place] = 1 if counted else -1
                break
        else:
            hidden = not frame.counts.all() and bool((row[~frame.counts & same] >= threshold).any())
            unknown = not frame.complete and not bool((row >= TOUCHES).any())
            verdicts[place] = -1 if hidden or unknown else 0
    return verdicts, frame.scores[own]


def overlaps(first: Array, second: Array) -> Array:
    """Intersection over union. [A, 4], [B, 4] -> [A, B]"""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inner = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (first, second)]
    return inner / np.maximum(areas[0][:, None] + areas[1][None] - inner, 1e-6)
