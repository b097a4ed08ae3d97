"""Where one scene ends and the next begins: marks the frames that nothing may be blended or warped into from before.

Source   the content measure is PySceneDetect's (ContentDetector, version 0.7: weights 1, 1, 1, 0), at a reduced size.
Departs  it alone takes fast motion, flashing lights and moving shadows for cuts. So it only proposes, at a low
         threshold, and a second measure decides, which asks three things motion leaves alone: are the blocks of one
         frame still found near their place in the other, are the colours the same, is the layout of light and dark
         the same. Figures: results/bench/scene_cuts.md.

A verdict depends on a frame and its predecessor only. It is therefore the same wherever a segment begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from refilm.video.frame import Frame

# Every frame is judged at one size, (width, height), whatever its own: figures and cost are then the same for all.
SIZE = (128, 72)
COARSE_SIZE = (32, 18)
BLOCKS = (8, 6)  # blocks across and down a coarse picture
SEARCH = 4  # how far a block may have moved, coarse pixels: an eighth of the width


@dataclass(frozen=True)
class Thumbnail:
    """What is kept of a frame for the comparison with the next.

    hsv      [72, 128, 3] uint8, OpenCV's: hue in [0, 180), saturation and value in [0, 255]
    luma     [18, 32] float32, in [0, 255]
    """

    hsv: np.ndarray
    luma: np.ndarray


def thumbnail(frame: Frame) -> Thumbnail:
    """Reduced in the frame's own planes, where there is least to average; only then converted."""
    planes = tuple(cv2.resize(plane, SIZE, interpolation=cv2.INTER_AREA) for plane in frame.planes)
    small = replace(frame, planes=planes, format=replace(frame.format, chroma_w=0, chroma_h=0))
    channels = small.rgb.mul_(255).round_().clamp_(0, 255).byte()
    rgb = np.ascontiguousarray(channels.permute(1, 2, 0).numpy())
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    luma = cv2.resize(gray, COARSE_SIZE, interpolation=cv2.INTER_AREA)
    return Thumbnail(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV), luma.astype(np.float32))


def content_change(before: Thumbnail, after: Thumbnail) -> float:
    """PySceneDetect's content_val: the mean of |dH|, |dS| and |dV| over the picture, in codes of 8-bit HSV.

    Hue is not taken round its circle, exactly as there.
    """
    return cv2.norm(before.hsv, after.hsv, cv2.NORM_L1) / before.hsv.size


def unlikeness(before: Thumbnail, after: Thumbnail) -> float:
    """How little two frames look like the same scene: residual * colours * (1 - layout), from 0 up.

    residual   mean absolute difference of luma after each block has moved to where it fits best, in codes
    colours    the share of pixels whose colour (8 x 4 x 8 bins of HSV) is not matched in the other frame, in [0, 1]
    layout     correlation of the luma pictures, in [-1, 1]; 0 if one of them is flat
    """
    colours = np.abs(_colour_shares(before.hsv) - _colour_shares(after.hsv)).sum() / 2
    return _residual(before.luma, after.luma) * float(colours) * (1 - _correlation(before.luma, after.luma))


@dataclass(frozen=True)
class SceneCuts:
    """The detector. Verdicts need `context_past` frames before the frame in question and `context_future` after it."""

    least_change: float = 15.0  # content change below which a frame is taken for a continuation unseen
    threshold: float = 2.5  # unlikeness from which it starts a scene: results/bench/scene_cuts.md

    context_past = 1
    context_future = 0

    def is_cut(self, before: Thumbnail, after: Thumbnail) -> bool:
        return content_change(before, after) >= self.least_change and unlikeness(before, after) >= self.threshold

    def mark(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames with `starts_scene` set. The first has no predecessor here and passes as it came."""
        before = None
        for frame in frames:
            after = thumbnail(frame)
            yield frame if before is None else replace(frame, starts_scene=self.is_cut(before, after))
            before = after


def _colour_shares(hsv: np.ndarray) -> np.ndarray:
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 8], [0, 180, 0, 256, 0, 256])
    return np.asarray(counts) / (hsv.shape[0] * hsv.shape[1])


def _residual(before: np.ndarray, after: np.ndarray) -> float:
    height, width = before.shape
    padded = np.pad(after, SEARCH, mode="edge")
    moved = np.lib.stride_tricks.sliding_window_view(padded, (height, width))  # [9, 9, 18, 32]
    difference = np.abs(moved - before).reshape(-1, BLOCKS[1], height // BLOCKS[1], BLOCKS[0], width // BLOCKS[0])
    return float(difference.mean(axis=(2, 4)).min(axis=0).mean())


def _correlation(before: np.ndarray, after: np.ndarray) -> float:
    a, b = before - before.mean(), after - after.mean()
    # the 1 keeps a flat picture, which has nothing to correlate, at 0
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1))
