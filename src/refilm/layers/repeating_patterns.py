"""Motion of repeating patterns, such as fences, grilles and the windows of a facade.

Where a pattern has moved by a part of its period, other motions, longer by whole periods or the other way, bring it to
the same place. A search for motion from coarse to fine may end at any of them, since coarse scales do not show the
pattern. The shortest is the most likely one. docs/choices.md#repeating-patterns has the measurements.
"""

from __future__ import annotations

import cv2
import numpy as np

from refilm.layers.optical_flow import SMALLEST_SIDE, dis

REDUCTION = 4  # the shorter motion is searched on frames so many times smaller, along each side
SQUARE = 9  # pixels of such a frame, along a side of the square over which differences are averaged
SHORTER = 0.5  # least difference in length of the two motions, in pixels of such a frame
AS_GOOD, MARGIN = 1.25, 2.0  # the shorter one may leave this many times the difference, and so many codes more
REPEATS, CLEARLY = 2.0, 8.0  # between the two, the difference is at least so many times larger, and so many codes


def with_shortest(first: np.ndarray, second: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A flow in which motions of repeating patterns are the shortest ones that explain them.

    first, second   [H, W]     luma, uint8
    flow            [H, W, 2]  from `first` to `second`, (dx, dy) in pixels
    out             [H, W, 2]  `flow` itself if nothing repeats, or if a side is below SMALLEST_SIDE * REDUCTION pixels
    """
    height, width = first.shape
    if min(height, width) < SMALLEST_SIDE * REDUCTION:
        return flow
    size = -(-width // REDUCTION), -(-height // REDUCTION)
    small, small_second = (cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in (first, second))
    ratio = np.array([size[0] / width, size[1] / height], np.float32)
    known = cv2.resize(flow, size, interpolation=cv2.INTER_AREA) * ratio
    shorter = dis(refinement=0, finest_scale=0, coarsest_scale=1).calc(small, small_second, np.zeros_like(known))
    place = _where_shorter(small, small_second, known, shorter)
    if not place.any():
        return flow
    start = cv2.resize(np.where(place[..., None], shorter, known), (width, height)) / ratio
    fine = dis(refinement=10, finest_scale=1, coarsest_scale=2).calc(first, second, start.astype(np.float32))
    whole = cv2.resize(place.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(whole[..., None] > 0, fine, flow)


def _where_shorter(first: np.ndarray, second: np.ndarray, known: np.ndarray, shorter: np.ndarray) -> np.ndarray:
    """Where the shorter of two flows explains a repeating pattern as well. -> bool [h, w]"""
    differences = [_difference(first, second, flow) for flow in (known, shorter, (known + shorter) / 2)]
    best = np.maximum(*differences[:2])
    place = np.linalg.norm(shorter, axis=2) + SHORTER < np.linalg.norm(known, axis=2)
    place &= differences[1] <= AS_GOOD * differences[0] + MARGIN
    # halfway between both motions a pattern does not fit, whereas anything fits a surface without texture
    place &= differences[2] > REPEATS * best + CLEARLY
    most: np.ndarray = cv2.blur(place.astype(np.float32), (SQUARE, SQUARE)) > 0.5
    return most


def _difference(first: np.ndarray, second: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The mean absolute difference of `first` and what the flow brings there, around each pixel, in 8-bit codes."""
    height, width = first.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    brought = cv2.remap(second, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.blur(cv2.absdiff(first, brought).astype(np.float32), (SQUARE, SQUARE))
