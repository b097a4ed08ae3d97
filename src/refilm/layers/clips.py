"""Preprocessing of input clips that several models share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

STRONGEST = 50.0  # standard deviation of the noise, in 8-bit levels, at which the strength input is 1


def unshuffle(clip: Tensor, side: int) -> Tensor:
    """Pixel unshuffle of each frame: squares of `side` x `side` pixels become channels.

    [N, C, T, H, W] -> [N, C * side^2, T, H / side, W / side]; H and W must be multiples of `side`.
    """
    if side == 1:
        return clip
    return F.pixel_unshuffle(clip.transpose(1, 2), side).transpose(1, 2)


def strength_planes(sigma_8bit: float | Tensor | None, clip: Tensor) -> Tensor:
    """The noise strength as the two input planes of a denoiser, one value per clip.

    sigma_8bit  standard deviation in 8-bit levels: one for all clips, or [N] with NaN where it is not known; None: not
                known for any clip
    clip        [N, ...], gives N, dtype and device
    out         [N, 2]: sigma_8bit / 50, and 1 where it is known; both are 0 where it is not
    """
    sigma = torch.as_tensor(math.nan if sigma_8bit is None else sigma_8bit, dtype=clip.dtype, device=clip.device)
    sigma = sigma.expand(clip.shape[0])
    return torch.stack([sigma.nan_to_num(0) / STRONGEST, (~sigma.isnan()).to(clip.dtype)], dim=1)
