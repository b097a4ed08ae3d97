"""Recognition of combs: frames in which two moments lie line by line, in a stream that does not say so.

Source   the measure of FFmpeg's filter fieldmatch, after Tritical's TFM: a sample is combed if it differs by much from
         a mean of the lines around it; samples are counted in blocks of 16x16.
Departs  what counts is not how combed a frame is, since fine horizontal lines look like combs too, but how combed it is
         beside the two frames that its fields make with those of the frame before, in blocks where these differ.

If frames are whole pictures, both mixtures are more combed than the frame, and equally so. In telecined film (3:2
pulldown) one of the mixtures is the whole picture that a combed frame is not. In interlaced video every field is a
moment of its own: a frame's fields are as far apart in time as those of one mixture, and nearer than those of the
other.
"""

from __future__ import annotations

import cv2
import numpy as np

from refilm.stages.findings import Combs
from refilm.video import Frame

_FILTER = np.array([[1], [-3], [4], [-3], [1]], np.float32)
_COMBED = 9 * 6  # smallest response of the filter in a combed sample, in 8-bit codes
_BLOCK = 16
_DIFFERENT = 16 / 256  # difference in the share of combed samples of a block that counts
_WIDTH, _HEIGHT = 1024, 576  # the middle of the picture that is looked at
_FRAMES = 12  # frames that are looked at, at the beginning of a stream: two cycles of 3:2 pulldown
_LEAST = 0.1  # share of combed samples in the blocks that differ, below which a frame is none
_PARTNERS = 0.65  # a mixture is the whole picture if it is combed at most so much beside the frame
_NEAR, _FAR = 0.75, 1.5  # beside the better mixture: the least that woven fields are combed, and the other mixture


class CombCheck:
    """Looks for combs in the first frames of a stream."""

    def __init__(self) -> None:
        self.finding = Combs()
        self._looked = 0
        self._latest: np.ndarray | None = None

    def push(self, frame: Frame) -> None:
        if self._looked > _FRAMES:
            return
        before, after = self._latest, _middle(frame)
        if before is not None and not frame.starts_scene:
            self.finding += judged(before, after, frame.format.bits)
        self._looked, self._latest = self._looked + 1, after


def judged(before: np.ndarray, after: np.ndarray, bits: int = 8) -> Combs:
    """What the second of two neighbouring pictures is. [H, W] each, luma"""
    scale = 2 ** (bits - 8)
    own, *mixtures = (_combing(picture, scale) for picture in (after, _mixed(after, before), _mixed(before, after)))
    every = np.stack([own, *mixtures])
    moving = np.ptp(every, axis=0) > _DIFFERENT
    if not moving.any():
        return Combs()
    combing, *of_mixtures = every[:, moving].mean(axis=1)
    better, worse = min(of_mixtures), max(of_mixtures)
    is_combed = combing >= _LEAST
    is_telecined = is_combed and better < _PARTNERS * combing
    is_woven = is_combed and not is_telecined and combing > _NEAR * better and worse > _FAR * better
    return Combs(1, int(is_telecined), int(is_woven))


def _middle(frame: Frame) -> np.ndarray:
    """The middle of the picture's luma; it begins with a line of the upper field."""
    luma = frame.planes[0]
    top, left = max(0, (luma.shape[0] - _HEIGHT) // 4 * 2), max(0, (luma.shape[1] - _WIDTH) // 2)
    return luma[top : top + _HEIGHT, left : left + _WIDTH]


def _mixed(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """The picture of one frame's upper field and the other's lower field."""
    mixed = upper.copy()
    mixed[1::2] = lower[1::2]
    return mixed


def _combing(picture: np.ndarray, scale: int) -> np.ndarray:
    """The share of combed samples in each block of 16x16 pixels."""
    combed = np.abs(cv2.filter2D(picture, cv2.CV_32F, _FILTER)) > _COMBED * scale
    height, width = picture.shape
    size = (-(-width // _BLOCK), -(-height // _BLOCK))
    return cv2.resize(combed.astype(np.float32), size, interpolation=cv2.INTER_AREA)
