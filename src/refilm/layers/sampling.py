"""Sampling at fractional positions, and box means."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_grid(height: int, width: int, device: torch.device, top: int = 0) -> Tensor:
    """The position (x, y) of each pixel in `height` rows from row `top` on, float32. -> [1, 2, height, W]"""
    y, x = torch.meshgrid(
        torch.arange(top, top + height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack((x, y))[None]


def sample(frame: Tensor, position: Tensor, modes: Sequence[str] = ("bilinear",)) -> Tensor:
    """Sample a frame at given positions; positions outside the frame read its border.

    frame     [N, C, H, W]
    position  [N, 2, h, w]   (x, y) in pixels
    modes     "bilinear" or "bicubic"
    out       [N, C * len(modes), h, w]   C channels for each mode
    """
    height, width = frame.shape[-2:]
    scale = position.new_tensor([2 / width, 2 / height]).view(1, 2, 1, 1)
    # in planes as it is, which grid_sample takes as well
    grid = torch.addcmul(scale / 2 - 1, position, scale).movedim(1, -1)
    return torch.cat(
        [F.grid_sample(frame, grid, mode=mode, padding_mode="border", align_corners=False) for mode in modes], 1
    )


def box_mean(planes: Tensor, side: int) -> Tensor:
    """The mean over a square of odd `side` around each pixel; the border is repeated. [N, C, H, W] -> same shape."""
    if planes.device.type == "cpu" and planes.dtype == torch.float32 and not planes.requires_grad:
        return _box_mean_by_opencv(planes, side)
    padded = F.pad(planes, [side // 2] * 4, mode="replicate")
    # first over columns, then over rows, in half the time of one pooling over the square
    return F.avg_pool2d(F.avg_pool2d(padded, (side, 1), stride=1), (1, side), stride=1)


def _box_mean_by_opencv(planes: Tensor, side: int) -> Tensor:
    """`box_mean` without gradients, in a fraction of the time; each pixel is its own sum, whatever is beside it."""
    means, share = torch.empty(planes.shape), np.full(side, 1 / side, np.float32)
    for plane, mean in zip(planes.flatten(0, 1).unbind(), means.flatten(0, 1).unbind(), strict=True):
        cv2.sepFilter2D(plane.numpy(), -1, share, share, dst=mean.numpy(), borderType=cv2.BORDER_REPLICATE)
    return means
