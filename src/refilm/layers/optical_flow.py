"""Sources of motion, the classical one (DIS), and alignment of frames along motion.

Source   DIS: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, arXiv 1603.03590, as
         implemented in OpenCV.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.layers.sampling import pixel_grid, sample

# Takes two luma planes [H, W] and the flow between them [H, W, 2], and gives the flow or a better one.
Correction = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

LUMA_BT709 = (0.2126, 0.7152, 0.0722)

# Shortest side, in pixels, for which DIS is run: with a side below 32, OpenCV 5.0 crashes on some sizes and raises on
# others (docs/choices.md#flow-blend).
SMALLEST_SIDE = 32

# Largest picture, in pixels, on which the flow is estimated down to full size. It takes 200 bytes a pixel then and four
# times as long as down to half the size, and larger pictures have little detail of single pixels.
LARGEST_AT_FULL_SIZE = 2**22

# Sigma, in pixels, of the Gaussian that smooths frames before the flow for their alignment is estimated, since they may
# be noisy: the best of those measured in docs/choices.md#alignment.
SMOOTHING = 1.0


class MotionSource(Protocol):
    """Estimates the motion between frames from their luma, as `luma` gives it, on its device."""

    def both_ways(self, first: Tensor, second: Tensor) -> Tensor:
        """The flow from `first` to `second`, and from `second` to `first`. [N, H, W] uint8 twice -> [2, N, 2, H, W]"""
        ...

    def one_way(self, first: Tensor, second: Tensor) -> Tensor:
        """The flow from `first` to `second` alone. [N, H, W] uint8 twice -> [N, 2, H, W]"""
        ...

    def from_centre(self, clips: Tensor) -> Tensor:
        """The flow from the middle frame of each clip, which may be noisy, to all of its frames.

        [N, T, H, W] uint8, T odd -> [N, T, 2, H, W]; 0 for the middle frame itself
        """
        ...


@dataclass(frozen=True)
class DIS:
    """Motion by DIS. It is estimated on the CPU, whatever the device.

    refinement    variational refinement steps on each scale
    finest_scale  see `estimate_flows`
    correct       called with two planes and the flow between them, which it may replace
    smoothness    weight of the smoothness of the flow in the refinement, relative to OpenCV's preset "medium"
    stride        pixels between patches, along each side
    """

    refinement: int = 5
    finest_scale: int = 1
    correct: Correction | None = None
    smoothness: float = 1.0
    stride: int = 3

    def both_ways(self, first: Tensor, second: Tensor) -> Tensor:
        """See `MotionSource`; all zero where a side is shorter than SMALLEST_SIDE."""
        count, height, width = first.shape
        if min(height, width) < SMALLEST_SIDE:
            return torch.zeros(2, count, 2, height, width, device=first.device)
        planes = first.cpu().numpy(), second.cpu().numpy()
        with one_opencv_thread(), ThreadPoolExecutor(2) as directions:
            ways = [directions.submit(self._search, *way) for way in (planes, planes[::-1])]
            return torch.stack([torch.from_numpy(way.result()).movedim(-1, 1) for way in ways]).to(first.device)

    def one_way(self, first: Tensor, second: Tensor) -> Tensor:
        """See `MotionSource`; all zero where a side is shorter than SMALLEST_SIDE."""
        count, height, width = first.shape
        if min(height, width) < SMALLEST_SIDE:
            return torch.zeros(count, 2, height, width, device=first.device)
        threads = min(count, torch.get_num_threads())
        planes = (np.array_split(each.cpu().numpy(), threads) for each in (first, second))
        with one_opencv_thread(), ThreadPoolExecutor(threads) as pool:
            flows = np.concatenate(list(pool.map(self._search, *planes)))
        return torch.from_numpy(flows).movedim(-1, 1).to(first.device)

    def from_centre(self, clips: Tensor) -> Tensor:
        """See `MotionSource`; all zero where a side is shorter than SMALLEST_SIDE."""
        count, length, height, width = clips.shape
        flows = torch.zeros(count, length, 2, height, width)
        if min(height, width) >= SMALLEST_SIDE and length > 1:
            smooth = np.stack(
                [[cv2.GaussianBlur(frame, (0, 0), SMOOTHING) for frame in frames] for frames in clips.cpu().numpy()]
            )
            centre, others = length // 2, [t for t in range(length) if t != length // 2]

            def search(t: int) -> np.ndarray:
                return self._search(smooth[:, centre], smooth[:, t])

            with one_opencv_thread(), ThreadPoolExecutor(min(len(others), torch.get_num_threads())) as pool:
                for t, flow in zip(others, pool.map(search, others), strict=True):
                    flows[:, t] = torch.from_numpy(flow).movedim(-1, 1)
        return flows.to(clips.device)

    def _search(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The flow from `first` to `second`. [N, H, W] uint8 twice -> [N, H, W, 2] float32, (dx, dy) in pixels."""
        height, width = first.shape[1:]
        finest = max(self.finest_scale, 1) if height * width > LARGEST_AT_FULL_SIZE else self.finest_scale
        search = dis(self.refinement, finest)
        search.setVariationalRefinementAlpha(self.smoothness * search.getVariationalRefinementAlpha())
        search.setPatchStride(self.stride)
        flows = []
        for a, b in zip(first, second, strict=True):
            # None: DIS starts from zero flow; OpenCV's type stubs do not allow it
            flow = search.calc(a, b, None)  # type: ignore[call-overload]
            flows.append(flow if self.correct is None else self.correct(a, b, flow))
        return np.stack(flows)


# For the alignment of frames that are noisy or compressed: docs/choices.md#alignment.
FOR_ALIGNMENT = DIS(refinement=5, smoothness=2.0, stride=4)


def estimate_flows(frames: Tensor, refinement: int, finest_scale: int = 1) -> Tensor:
    """DIS flow in both directions between pairs of frames.

    frames        [2, N, 3, H, W]   RGB, [0, 1]
    refinement    variational refinement steps on each scale
    finest_scale  the flow is estimated down to frames halved this many times, then interpolated to full size; at least
                  once above LARGEST_AT_FULL_SIZE
    out           [2, N, 2, H, W]   (dx, dy) in pixels, from frames[0] to frames[1] and from frames[1] to frames[0]; all
                  zero where a side is shorter than SMALLEST_SIDE
    """
    first, second = luma(frames)
    return DIS(refinement, finest_scale).both_ways(first, second)


class RememberedFlows:
    """`MotionSource.both_ways` with a memory of the last pairs of frames.

    Consecutive windows of a film have pairs of neighbouring frames in common, so each pair is estimated only once.

    pairs   how many are remembered: those that the next window has in common with this one
    """

    def __init__(self, source: MotionSource, pairs: int = 1) -> None:
        self._source, self._pairs = source, pairs
        self._recent: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def bytes_a_pixel(self) -> float:
        """For each remembered pair: two luma planes, and two flows of two float32 components."""
        return self._pairs * (2 * 1 + 2 * 2 * 4)

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """As `MotionSource.both_ways`: [N, H, W] uint8 twice -> [2, N, 2, H, W]; zero if both are identical."""
        if torch.equal(first, second):  # a repeated frame
            return torch.zeros(2, len(first), 2, *first.shape[1:], device=first.device)
        for before, after, flows in self._recent:
            if before.device == first.device and torch.equal(before, first) and torch.equal(after, second):
                return flows
        flows = self._source.both_ways(first, second)
        self._recent = [*self._recent, (first, second, flows)][-self._pairs :]
        return flows


@torch.no_grad()
def align_to_centre(clip: Tensor, source: MotionSource = FOR_ALIGNMENT) -> Tensor:
    """Backward-warp every frame to the middle one, along the motion between smoothed frames, which may be noisy.

    The flow is rounded to whole pixels, so that no values are interpolated: white noise stays white, and aliasing is
    preserved. Positions outside the frame read its border. The clip is returned as it is if a side is shorter than
    SMALLEST_SIDE.

    clip  [N, 3, T, H, W]   RGB, [0, 1], T odd
    out   [N, 3, T, H, W]   the middle frame unchanged
    """
    count, channels, length, height, width = clip.shape
    if min(height, width) < SMALLEST_SIDE or length == 1:
        return clip
    moved = source.from_centre(luma(clip.transpose(1, 2))).round().long()  # [N, T, 2, H, W]
    y, x = torch.meshgrid(*(torch.arange(side, device=clip.device) for side in (height, width)), indexing="ij")
    aligned = clip.clone(memory_format=torch.contiguous_format)
    for t in (t for t in range(length) if t != length // 2):
        place = (y + moved[:, t, 1]).clamp(0, height - 1) * width + (x + moved[:, t, 0]).clamp(0, width - 1)
        index = place.flatten(1)[:, None].expand(count, channels, -1)
        aligned[:, :, t] = clip[:, :, t].flatten(2).gather(2, index).unflatten(2, (height, width))
    return aligned


def consistent(flows: Tensor) -> Tensor:
    """1 where two flows agree, [2, 2, H, W] -> [2, 1, H, W], by the criterion of Sundaram et al. (ECCV 2010).

    |there + back|^2 < 0.01 (|there|^2 + |back|^2) + 0.5, in pixels
    """
    grid = pixel_grid(flows.shape[2], flows.shape[3], flows.device)
    back = sample(flows.flip(0), grid + flows)
    sizes = flows.square().sum(1, keepdim=True) + back.square().sum(1, keepdim=True)
    return ((flows + back).square().sum(1, keepdim=True) < 0.01 * sizes + 0.5).float()


def luma(frames: Tensor) -> Tensor:
    """RGB in [0, 1], [..., 3, H, W] -> BT.709 luma as uint8, [..., H, W]; values outside [0, 1] are clamped."""
    (red, green, blue), (of_red, of_green, of_blue) = frames.unbind(-3), LUMA_BT709
    # in one plane, not in three and then some more
    plane = (red * of_red).add_(green, alpha=of_green).add_(blue, alpha=of_blue)
    return plane.mul_(255).round_().clamp_(0, 255).byte()


def dis(refinement: int, finest_scale: int, coarsest_scale: int = -1) -> cv2.DISOpticalFlow:
    """A search for motion that starts on frames halved `coarsest_scale` times; -1: as often as their size allows.

    It holds buffers, so two threads must not share one.
    """
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setVariationalRefinementIterations(refinement)
    search.setFinestScale(finest_scale)
    search.setCoarsestScale(coarsest_scale)
    return search


_opencv = threading.Lock()


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Set OpenCV's number of threads to one, so that the flow does not depend on the number of cores.

    DIS divides a frame into as many stripes as there are threads, and propagates motion within a stripe only. The
    number of threads is a setting of the whole process, so a lock admits one caller at a time; the former number is
    restored.
    """
    with _opencv:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield
        finally:
            cv2.setNumThreads(before)
