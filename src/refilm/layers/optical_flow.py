"""Classical optical flow, and frames moved by it.

Source   DIS: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, arXiv 1603.03590, as
         implemented in OpenCV.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor

LUMA_BT709 = (0.2126, 0.7152, 0.0722)

# DIS reduces the frame by 2 per scale and reads 8x8 patches: OpenCV 5.0 crashes on some frames narrower than 16.
SMALLEST_SIDE = 32

# Gaussian, pixels, that frames to be aligned are smoothed with: at noise of sigma 25 it brings a neighbour aligned by
# its own noisy flow within 1 dB of one aligned by the clean frames' (docs/choices.md#alignment).
SMOOTHING = 1.0


def estimate_flows(frames: Tensor, refinement: int, finest_scale: int = 1) -> Tensor:
    """[2, N, 3, H, W] -> [2, N, 2, H, W]: DIS flow in pixels from frames[0] to frames[1], and from [1] to [0].

    refinement    variational refinement steps on each scale
    finest_scale  how often the frames are halved on the last scale; what is finer is interpolated

    Zero where a side is shorter than SMALLEST_SIDE.
    """
    first, second = luma_8bit(frames)
    return flows_of_luma(first, second, refinement, finest_scale).to(frames.device)


def flows_of_luma(first: np.ndarray, second: np.ndarray, refinement: int, finest_scale: int) -> Tensor:
    """`estimate_flows` of what `luma_8bit` makes, [N, H, W] twice. -> [2, N, 2, H, W] on the CPU"""
    count, height, width = first.shape
    if min(height, width) < SMALLEST_SIDE:
        return torch.zeros(2, count, 2, height, width)
    with one_opencv_thread(), ThreadPoolExecutor(2) as directions:
        forwards = directions.submit(_dis, first, second, refinement, finest_scale)
        backwards = directions.submit(_dis, second, first, refinement, finest_scale)
        flows = np.stack((forwards.result(), backwards.result()))
    return torch.from_numpy(flows).movedim(-1, 2).contiguous()


class RememberedFlows:
    """`flows_of_luma` of the steps of a film, the last three of them remembered: windows share their steps."""

    bytes_a_pixel = 3 * (2 * 1 + 2 * 2 * 4)

    def __init__(self, refinement: int, finest_scale: int = 1) -> None:
        self._settings = refinement, finest_scale
        self._recent: list[tuple[tuple[object, ...], Tensor]] = []

    def between(self, first: np.ndarray, second: np.ndarray) -> Tensor:
        """[N, H, W] of `luma_8bit` twice -> [2, N, 2, H, W] on the CPU; zero between frames that are the same."""
        key = first.shape, first.tobytes(), second.tobytes()
        if key[1] == key[2]:  # a repeated frame
            return torch.zeros(2, len(first), 2, *first.shape[1:])
        for known, flows in self._recent:
            if known == key:
                return flows
        flows = flows_of_luma(first, second, *self._settings)
        self._recent = [*self._recent[-2:], (key, flows)]
        return flows


@torch.no_grad()
def align_to_centre(clip: Tensor) -> Tensor:
    """Every frame moved onto the middle one along the flow between them, which may be noisy. -> the clip's shape.

    Motion is rounded to whole pixels, so that no value is made up: noise stays white and aliasing stays what it is.
    Where there is no flow (see SMALLEST_SIDE), frames stay where they are.

    clip  [N, C, T, H, W], T odd
    """
    count, channels, length, height, width = clip.shape
    centre = length // 2
    if min(height, width) < SMALLEST_SIDE or length == 1:
        return clip
    luma = luma_8bit(clip.transpose(1, 2))  # [N, T, H, W]
    luma = np.stack([[cv2.GaussianBlur(frame, (0, 0), SMOOTHING) for frame in frames] for frames in luma])
    others = [t for t in range(length) if t != centre]
    with one_opencv_thread(), ThreadPoolExecutor(min(len(others), torch.get_num_threads())) as pool:
        flows = list(pool.map(lambda t: _dis(luma[:, centre], luma[:, t], refinement=5), others))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    aligned = clip.clone(memory_format=torch.contiguous_format)
    for t, flow in zip(others, flows, strict=True):
        moved = torch.from_numpy(flow).round().long()  # [N, H, W, 2], (dx, dy)
        place = (y + moved[..., 1]).clamp(0, height - 1) * width + (x + moved[..., 0]).clamp(0, width - 1)
        index = place.flatten(1)[:, None].expand(count, channels, -1).to(clip.device)
        aligned[:, :, t] = clip[:, :, t].flatten(2).gather(2, index).unflatten(2, (height, width))
    return aligned


def luma_8bit(frames: Tensor) -> np.ndarray:
    """[..., 3, H, W] RGB in [0, 1] -> [..., H, W] BT.709 luma, uint8."""
    weights = frames.new_tensor(LUMA_BT709).view(3, 1, 1)
    luma: np.ndarray = (frames * weights).sum(-3).mul(255).round().clamp(0, 255).byte().cpu().numpy()
    return luma


def _dis(first: np.ndarray, second: np.ndarray, refinement: int, finest_scale: int = 1) -> np.ndarray:
    """[N, H, W] uint8 twice -> [N, H, W, 2] float32."""
    # an object of its own for each direction: it holds buffers, and two threads must not share it
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setVariationalRefinementIterations(refinement)
    dis.setFinestScale(finest_scale)
    # a flow of None lets DIS start from rest; OpenCV's own stubs do not know it
    return np.stack([dis.calc(a, b, None) for a, b in zip(first, second, strict=True)])  # type: ignore[call-overload]


_opencv = threading.Lock()


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """OpenCV splits DIS into as many stripes as it has threads, and propagates within a stripe; one is reproducible.

    The count belongs to the process, hence the lock.
    """
    with _opencv:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield
        finally:
            cv2.setNumThreads(before)
