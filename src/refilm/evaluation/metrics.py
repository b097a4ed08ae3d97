"""How far a frame is from the truth, and how steadily a clip moves.

Everything is measured on what a file would hold: RGB (not linear light) or what is made of it, clamped to [0, 1] and
rounded to 8 bit, over the whole picture it is given.

Source   PSNR and SSIM are torchmetrics'; SSIM with the window of Wang et al., "Image Quality Assessment", IEEE TIP 2004
         (Gaussian, sigma 1.5, 11x11), mean over the channels. Warp error: Lai et al., "Learning Blind Video Temporal
         Consistency", ECCV 2018 (4.3), with absolute differences and DIS flow.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from refilm.layers.optical_flow import estimate_flows
from refilm.layers.sampling import pixel_grid, sample

PERFECT_DB = 100.0  # stands for the infinite PSNR of an exact frame, so that means stay finite
SMALLEST_SIDE = 11  # SSIM's window has to fit

# Disagreement of the two flows, in pixels, from which a pixel counts as occluded and is left out of the warp error.
OCCLUDED_PIXELS = 1.0


def as_shown(frames: Tensor) -> Tensor:
    """The frames a viewer gets: clamped to [0, 1] and rounded to multiples of 1/255. Any shape."""
    return frames.clamp(0, 1).mul(255).round().div(255)


def luma(frame: Tensor) -> Tensor:
    """Y of BT.601, limited range, over 255, as papers on super-resolution compare it. [3, H, W] -> [1, H, W]"""
    red, green, blue = frame
    return ((65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255)[None]


def psnr_db(result: Tensor, truth: Tensor) -> float:
    """PSNR of one frame [C, H, W], dB, at most PERFECT_DB."""
    value = float(peak_signal_noise_ratio(as_shown(result), as_shown(truth), data_range=1.0))
    return min(value, PERFECT_DB)


def ssim(result: Tensor, truth: Tensor) -> float:
    """SSIM of one frame [C, H, W], at most 1: the mean over pixels and channels."""
    if min(truth.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(f"SSIM needs frames of at least {SMALLEST_SIDE} pixels a side, got {list(truth.shape)}")
    pair = as_shown(result)[None], as_shown(truth)[None]
    value = structural_similarity_index_measure(*pair, data_range=1.0, sigma=1.5)
    assert isinstance(value, Tensor), "torchmetrics gives a pair only when asked for the full image"
    return float(value)


def warp_errors(before: Tensor, after: Tensor, true_before: Tensor, true_after: Tensor) -> tuple[float, float]:
    """How much a frame differs from the one before it once the true motion is taken out.

    before, after             [3, H, W]: neighbouring frames of the clip to judge
    true_before, true_after   [3, H, W]: the real frames, whose motion is the true one
    out                       of the clip, and of the real frames, which is the floor: mean absolute difference in
                              8-bit levels over the pixels seen in both real frames
    """
    real = torch.stack((as_shown(true_after), as_shown(true_before)))[:, None]  # [2, 1, 3, H, W]
    back, forth = estimate_flows(real, refinement=5)  # [1, 2, H, W] each
    position = pixel_grid(after.shape[1], after.shape[2], after.device) + back
    seen = (back + sample(forth, position)).norm(dim=1) < OCCLUDED_PIXELS  # [1, H, W]

    def error(first: Tensor, second: Tensor) -> float:
        difference = (sample(as_shown(first)[None], position) - as_shown(second)).abs().mean(1)  # [1, H, W]
        return float((difference * seen).sum() / seen.sum().clamp(min=1)) * 255

    return error(before, after), error(true_before, true_after)
