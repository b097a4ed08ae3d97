"""Places in a stream to come back to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from refilm.video.frame import Frame


@dataclass(frozen=True)
class Bookmark:
    """A frame to come back to: where it is in the stream, and what it looked like."""

    index: int  # frames before it in the stream
    time: Fraction
    digest: str  # of its samples: a decoder that starts at a key frame must give the same picture
    position: int | None = None  # of its packet in the file; None: to be found by decoding from the start only

    @classmethod
    def of(cls, frame: Frame, index: int) -> Bookmark:
        return cls(index, frame.time, digest(frame), frame.position)


def digest(frame: Frame) -> str:
    """A fingerprint of a frame's samples."""
    state = hashlib.blake2b(digest_size=16)
    for plane in frame.planes:
        state.update(np.ascontiguousarray(plane).data)
    return state.hexdigest()
