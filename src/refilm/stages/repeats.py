"""Recognition of repeats: frames that show the picture before them again.

Drawings are often shown for two or three frames each, and a film of 24 frames a second in a stream of 30 repeats every
fourth. Between a repeat and its picture there is no motion to interpolate.

A repeat is told from a slow or still scene by what is around it: it changes far less than frames shortly before and
after it. Encoded again and again, repeats are not quite equal, so no fixed threshold would do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from refilm.stages.findings import Repeats
from refilm.video import Frame

_BLOCK = 8  # side in pixels of the blocks in which frames are compared
_LARGEST = 16.0  # largest change of a block, in 8-bit codes, in a repeat
_SHARE = 0.2  # largest share of the changes around it
_STILL = 4.0  # change up to which a frame does not count as moving
_AROUND = 3  # number of changes before and after a frame that are looked at, and so of repeats of one picture


def change(before: Frame, after: Frame) -> float:
    """The largest mean absolute change of luma, or of the first plane, in a block of 8x8 pixels; in 8-bit codes."""
    difference = cv2.absdiff(before.planes[0], after.planes[0])
    height, width = difference.shape
    size = (-(-width // _BLOCK), -(-height // _BLOCK))
    blocks = cv2.resize(difference, size, interpolation=cv2.INTER_AREA)
    return float(np.max(blocks)) / 2 ** (after.format.bits - 8)


class RepeatMarker:
    """Tells for each frame of a stream whether it repeats the one before it. The first frame of a scene never does.

    past, future   frames before and after a frame on which the answer depends
    longest        the most repeats in a row; between more equal frames, the scene is still
    finding        of the frames that have been told
    """

    past, future, longest = _AROUND + 1, _AROUND, 2 * _AROUND - 1

    def __init__(self) -> None:
        self.finding = Repeats()
        self._waiting: list[Frame] = []
        self._latest: Frame | None = None
        self._changes: list[float] = []  # of up to `_AROUND` frames before the first that waits, and of all that wait

    def push(self, frame: Frame) -> Iterator[tuple[Frame, bool]]:
        """Takes the next frame, and yields an earlier one and whether it is a repeat."""
        # infinite for the first frame, which repeats nothing, and after which the other side has to do
        self._changes.append(math.inf if self._latest is None else change(self._latest, frame))
        self._latest = frame
        self._waiting.append(frame)
        if len(self._waiting) > _AROUND:
            yield self._told()

    def flush(self) -> Iterator[tuple[Frame, bool]]:
        """The remaining frames at the end of the stream. Afterwards, a new stream can begin."""
        while self._waiting:
            yield self._told()
        self._latest, self._changes = None, []

    def _told(self) -> tuple[Frame, bool]:
        place = len(self._changes) - len(self._waiting)
        frame, own = self._waiting.pop(0), self._changes[place]
        before, after = self._changes[:place], self._changes[place + 1 : place + 1 + _AROUND]
        # at the end, as at the beginning, one side has to do
        around = min(max(before, default=math.inf), max(after) if len(after) == _AROUND else math.inf)
        is_repeat = own <= min(_LARGEST, _SHARE * around) and _STILL < around < math.inf and not frame.starts_scene
        self.finding += Repeats(int(is_repeat or own > _STILL), int(is_repeat))
        del self._changes[: max(0, place + 1 - _AROUND)]
        return frame, is_repeat
