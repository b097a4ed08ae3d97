"""Detection of scene cuts: marks the first frame of each scene, so that nothing is blended or warped across a cut.

Source   the first measure is PySceneDetect's (ContentDetector, version 0.7, weights 1, 1, 1, 0), on reduced frames.
Departs  that measure alone also detects fast motion, flashing lights and moving shadows. Here it only proposes cuts,
         with a low threshold, and a second measure decides. It combines three properties that motion hardly changes:
         whether the blocks of one frame are found near their position in the other, whether the colours are the same,
         and whether the layout of light and dark is. Figures: results/bench/scene_cuts.md.

Whether a frame is a cut depends on this frame and the one before it only, and so not on where a segment begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from refilm.video.frame import Frame

# Frames are reduced to this size, (width, height), whatever their own, so that thresholds and cost are the same for
# all.
SIZE = (128, 72)
COARSE_SIZE = (32, 18)
BLOCKS = (8, 6)  # number of blocks in a row and in a column of a coarse frame
SEARCH = 4  # largest displacement of a block, in pixels of the coarse frame: an eighth of the width


@dataclass(frozen=True)
class Thumbnail:
    """A reduced frame, for the comparison with the next.

    hsv      [72, 128, 3]   uint8, as in OpenCV: hue in [0, 180), saturation and value in [0, 255]
    luma     [18, 32]       float32, in [0, 255]
    """

    hsv: np.ndarray
    luma: np.ndarray


def thumbnail(frame: Frame) -> Thumbnail:
    """The reduced frame. Its planes are reduced first and then converted to RGB, which is faster."""
    planes = tuple(cv2.resize(plane, SIZE, interpolation=cv2.INTER_AREA) for plane in frame.planes)
    small = replace(frame, planes=planes, format=replace(frame.format, chroma_w=0, chroma_h=0))
    channels = small.rgb.mul_(255).round_().clamp_(0, 255).byte()
    rgb = np.ascontiguousarray(channels.permute(1, 2, 0).numpy())
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    luma = cv2.resize(gray, COARSE_SIZE, interpolation=cv2.INTER_AREA)
    return Thumbnail(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV), luma.astype(np.float32))


def content_change(before: Thumbnail, after: Thumbnail) -> float:
    """PySceneDetect's content_val: the mean of |dH|, |dS| and |dV| over the frame, in codes of 8-bit HSV.

    As there, the difference of hues does not take into account that hue is periodic.
    """
    return cv2.norm(before.hsv, after.hsv, cv2.NORM_L1) / before.hsv.size


def unlikeness(before: Thumbnail, after: Thumbnail) -> float:
    """How different two frames look: residual * colours * (1 - layout), 0 or more.

    residual   mean absolute difference of luma, in codes, after each block has been moved to where it fits best
    colours    share of pixels in which the colour histograms (8 x 4 x 8 bins of HSV) differ, in [0, 1]
    layout     correlation of luma, in [-1, 1]; 0 if one of the frames is flat
    """
    colours = np.abs(_colour_shares(before.hsv) - _colour_shares(after.hsv)).sum() / 2
    return _residual(before.luma, after.luma) * float(colours) * (1 - _correlation(before.luma, after.luma))


@dataclass(frozen=True)
class SceneCuts:
    """The detector.

    least_change     `content_change` below which a frame does not start a scene
    threshold        `unlikeness` from which it does, if the content change is large enough; see
                     results/bench/scene_cuts.md
    context_past     frames before a frame that have to be known to decide about it
    context_future   frames after it
    """

    least_change: float = 15.0
    threshold: float = 2.5

    context_past = 1
    context_future = 0

    def is_cut(self, before: Thumbnail, after: Thumbnail) -> bool:
        """Whether `after` is the first frame of a scene."""
        return content_change(before, after) >= self.least_change and unlikeness(before, after) >= self.threshold

    def mark(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames with `starts_scene` set, except for the first one, which is not changed."""
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
    # + 1, so that the correlation is 0 for a flat frame
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1))
