"""Detection of scene cuts: marks the first frame of each scene, so that nothing is blended or warped across a cut.

Two neighbouring frames are compared by three properties that motion hardly changes: whether the blocks of one frame are
found near their position in the other, whether the colours are the same, and whether the layout of light and dark is.
Both are first stretched to the same contrast, so that dim and flat (log) scenes are judged like bright ones. What
counts is how far this figure stands out from those of the neighbouring pairs of frames: fast motion, moving shadows and
crossfades change frames one after another, a cut changes them once. After a flash, frames look again as before; that is
no cut. Figures: results/bench/scene_cuts.md.

Whether a frame is a cut depends on the three frames before it and the two after it only, and so not on where a segment
begins.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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
CONTRAST = 48.0  # standard deviation of luma, in codes, to which frames are stretched
LARGEST_GAIN = 12.0  # beyond it, noise and the steps of 8 bits would count as contents
FLAT = 2.0  # standard deviation of luma, in codes, below which a frame shows nothing


@dataclass(frozen=True)
class Thumbnail:
    """A reduced frame, for the comparison with others.

    rgb      [72, 128, 3]   uint8
    luma     [18, 32]       float32, in [0, 255]
    """

    rgb: np.ndarray
    luma: np.ndarray


def thumbnail(frame: Frame) -> Thumbnail:
    """The reduced frame. Its planes are reduced first and then converted to RGB, which is faster."""
    planes = tuple(cv2.resize(plane, SIZE, interpolation=cv2.INTER_AREA) for plane in frame.planes)
    small = replace(frame, planes=planes, format=replace(frame.format, chroma_w=0, chroma_h=0))
    channels = small.rgb.mul_(255).round_().clamp_(0, 255).byte()
    rgb = np.ascontiguousarray(channels.permute(1, 2, 0).numpy())
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    luma = cv2.resize(gray, COARSE_SIZE, interpolation=cv2.INTER_AREA)
    return Thumbnail(rgb, luma.astype(np.float32))


def unlikeness(before: Thumbnail, after: Thumbnail) -> float:
    """How different two frames look: gain * residual * colour_difference * (1 - layout), 0 or more.

    gain   factor that stretches the frame of higher contrast to CONTRAST, from 1 to LARGEST_GAIN; the colours are
           compared in frames stretched by it
    """
    contrast = max(float(before.luma.std()), float(after.luma.std()))
    gain = min(max(CONTRAST / max(contrast, 1e-3), 1.0), LARGEST_GAIN)
    middle = (float(before.luma.mean()) + float(after.luma.mean())) / 2
    # saturates in uint8
    stretched = [cv2.addWeighted(t.rgb, gain, t.rgb, 0, 128 - gain * middle) for t in (before, after)]
    colours = colour_difference(*stretched)
    return gain * residual(before.luma, after.luma) * colours * (1 - layout(before.luma, after.luma))


def residual(before: np.ndarray, after: np.ndarray) -> float:
    """Mean absolute difference of luma, in codes, after each block has been moved to where it fits best."""
    height, width = before.shape
    padded = np.pad(after, SEARCH, mode="edge")
    moved = np.lib.stride_tricks.sliding_window_view(padded, (height, width))  # [9, 9, 18, 32]
    difference = np.abs(moved - before).reshape(-1, BLOCKS[1], height // BLOCKS[1], BLOCKS[0], width // BLOCKS[0])
    return float(difference.mean(axis=(2, 4)).min(axis=0).mean())


def colour_difference(before: np.ndarray, after: np.ndarray) -> float:
    """Share of pixels in which the colour histograms (8 x 4 x 8 bins of HSV) of two RGB pictures differ, in [0, 1]."""
    return float(np.abs(_colour_shares(before) - _colour_shares(after)).sum()) / 2


def layout(before: np.ndarray, after: np.ndarray) -> float:
    """Correlation of luma, in [-1, 1]; 0 if one of the frames is flat."""
    a, b = before - before.mean(), after - after.mean()
    # + 1, so that the correlation is 0 for a flat frame
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1))


@dataclass(frozen=True)
class SceneCuts:
    """The detector. `change` below is the `unlikeness` of a frame and the one before it.

    A frame starts a scene if its change is `least` or more and stands out from the changes around it, and if no frame
    before it looks like one after it, as around a flash. From `certain` on, the changes around it are not asked; and
    where the layouts have nothing in common, neither is whether the former scene comes back.

    least            smallest change of a frame that starts a scene
    stands_out       factor by which it exceeds the two changes before and the two after it
    certain          change that no motion brings about
    returns          share of the change below which frames before and after it look alike
    context_past     frames before a frame that have to be known to decide about it
    context_future   frames after it
    """

    least: float = 0.7
    stands_out: float = 10.0
    certain: float = 8.0
    returns: float = 0.5

    context_past = 3
    context_future = 2

    def mark(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames with `starts_scene` set, except for the first one, which is not changed.

        Reads `context_future` frames ahead.
        """
        waiting: deque[Frame] = deque()

        def thumbnails() -> Iterator[Thumbnail]:
            for frame in frames:
                waiting.append(frame)
                yield thumbnail(frame)

        for number, starts_scene in enumerate(self.verdicts(thumbnails())):
            frame = waiting.popleft()
            yield replace(frame, starts_scene=starts_scene) if number else frame

    def verdicts(self, thumbnails: Iterable[Thumbnail]) -> Iterator[bool]:
        """Whether each frame of a stream starts a scene; False for the first."""
        held: list[Thumbnail] = []
        changes: list[float] = []  # of each of `held` to the one before
        place = 0  # in `held`, of the frame that is next to be decided about

        def verdict() -> bool:
            first, end = max(0, place - self.context_past), place + self.context_future + 1
            return place > 0 and self._is_cut(held[first:end], changes[first + 1 : end], place - first)

        for after in thumbnails:
            changes.append(unlikeness(held[-1], after) if held else 0.0)
            held.append(after)
            if len(held) - place > self.context_future:
                yield verdict()
                if place == self.context_past:
                    del held[0], changes[0]
                else:
                    place += 1
        while place < len(held):
            yield verdict()
            place += 1

    def _is_cut(self, around: Sequence[Thumbnail], changes: Sequence[float], place: int) -> bool:
        """Whether frame `place` of `around` starts a scene; `changes`: those between neighbours, one fewer."""
        change = changes[place - 1]
        others = [*changes[: place - 1], *changes[place:]]
        # a fade between two empty pictures changes much, for their contrast
        is_certain = change >= self.certain and any(t.luma.std() >= FLAT for t in around[place - 1 : place + 1])
        if not is_certain and change < max(self.least, self.stands_out * max(others, default=math.inf)):
            return False
        before, after = around[place - 1], around[place]
        if is_certain and layout(before.luma, after.luma) < 0:
            return True
        pairs = [(before, later) for later in around[place + 1 :]]
        pairs += [(earlier, after) for earlier in around[: place - 1]]
        return all(unlikeness(a, b) >= self.returns * change for a, b in pairs)


def _colour_shares(rgb: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 8], [0, 180, 0, 256, 0, 256])
    return np.asarray(counts) / (hsv.shape[0] * hsv.shape[1])
