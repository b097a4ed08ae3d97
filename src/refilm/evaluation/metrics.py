"""PSNR and SSIM of frames, and the warp error, which measures flicker.

Frames are clamped to [0, 1] and rounded to 8 bit first, as in a file. They are RGB, not linear light, or luma made from
it. All pixels of the given frames count.

Source   PSNR and SSIM are torchmetrics'; SSIM with the window of Wang et al., "Image Quality Assessment", IEEE TIP 2004
         (Gaussian, sigma 1.5, 11x11), mean over the channels. Warp error: Lai et al., "Learning Blind Video Temporal
         Consistency", ECCV 2018 (4.3), but with absolute differences and DIS flow.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from refilm.layers.optical_flow import estimate_flows
from refilm.layers.sampling import pixel_grid, sample

PERFECT_DB = 100.0  # PSNR of an exact frame, instead of infinity, so that means stay finite
SMALLEST_SIDE = 11  # of a frame, in pixels: the window of SSIM must fit

# Disagreement of the flows there and back, in pixels, from which a pixel is considered occluded and left out of the
# warp error.
OCCLUDED_PIXELS = 1.0


def as_shown(frames: Tensor) -> Tensor:
    """Frames as a viewer sees them: clamped to [0, 1] and rounded to multiples of 1/255. Any shape -> same shape."""
    return frames.clamp(0, 1).mul(255).round().div(255)


def luma(frame: Tensor) -> Tensor:
    """Luma Y of BT.601 in limited range, divided by 255, as in papers on super-resolution.

    RGB in [0, 1], [3, H, W] -> [1, H, W], in [16/255, 235/255].
    """
    red, green, blue = frame
    return ((65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255)[None]


def psnr_db(result: Tensor, truth: Tensor) -> float:
    """PSNR of one frame [C, H, W] in [0, 1], in dB, at most PERFECT_DB."""
    value = float(peak_signal_noise_ratio(as_shown(result), as_shown(truth), data_range=1.0))
    return min(value, PERFECT_DB)


def ssim(result: Tensor, truth: Tensor) -> float:
    """SSIM of one frame [C, H, W] in [0, 1], the mean over pixels and channels, at most 1.

    Raises ValueError if a side is shorter than SMALLEST_SIDE.
    """
    if min(truth.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(f"SSIM needs frames of at least {SMALLEST_SIDE} pixels a side, got {list(truth.shape)}")
    pair = as_shown(result)[None], as_shown(truth)[None]
    value = structural_similarity_index_measure(*pair, data_range=1.0, sigma=1.5)
    assert isinstance(value, Tensor), "torchmetrics gives a pair only when asked for the full image"
    return float(value)


def warp_errors(before: Tensor, after: Tensor, true_before: Tensor, true_after: Tensor) -> tuple[float, float]:
    """The warp error of a clip, and that of the real frames, between two neighbouring frames.

    The warp error is the mean absolute difference, in 8-bit levels, between a frame and the one before it after
    backward warping along the flow of the real frames, over the pixels that are not occluded. It grows with flicker;
    that of the real frames is what an exact result would have.

    before, after             [3, H, W], RGB, [0, 1]   neighbouring frames of the clip
    true_before, true_after   [3, H, W], RGB, [0, 1]   the real frames
    """
    real = torch.stack((as_shown(true_after), as_shown(true_before)))[:, None]  # [2, 1, 3, H, W]
    back, forth = estimate_flows(real, refinement=5)  # [1, 2, H, W] each
    position = pixel_grid(after.shape[1], after.shape[2], after.device) + back
    seen = (back + sample(forth, position)).norm(dim=1) < OCCLUDED_PIXELS  # [1, H, W]

    def error(first: Tensor, second: Tensor) -> float:
        difference = (sample(as_shown(first)[None], position) - as_shown(second)).abs().mean(1)  # [1, H, W]
        return float((difference * seen).sum() / seen.sum().clamp(min=1)) * 255

    return error(before, after), error(true_before, true_after)
