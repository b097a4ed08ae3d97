"""Correlation, the cost volume of PWC-Net."""

import torch
import torch.nn.functional as F
from torch import Tensor


def correlation(left: Tensor, right: Tensor, radius: int = 4) -> Tensor:
    """Compare each pixel's features with those of the pixels around the same place in the other frame.

    out[n, k, y, x] = mean over c of left[n, c, y, x] * right[n, c, y + j, x + i]

    k numbers the displacements (j, i) in [-radius, radius]^2 row by row; `right` is zero outside the frame.

    left, right  [N, C, H, W]
    out          [N, (2 radius + 1)^2, H, W]
    """
    if left.dim() != 4 or left.shape != right.shape:
        raise ValueError(
            f"left and right must be [N, C, H, W] of one shape, got {list(left.shape)} and {list(right.shape)}"
        )
    if radius < 0:
        raise ValueError(f"radius must be at least 0 pixels, got {radius}")
    return correlation_reference(left, right, radius)


def correlation_reference(left: Tensor, right: Tensor, radius: int) -> Tensor:
    """`correlation` of checked inputs, in plain torch."""
    height, width = left.shape[2:]
    padded = F.pad(right, (radius,) * 4)
    shifts = range(2 * radius + 1)
    means = [(left * padded[..., j : j + height, i : i + width]).mean(1) for j in shifts for i in shifts]
    return torch.stack(means, dim=1)
