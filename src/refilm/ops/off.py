"""The fixed part of the OFF (optical flow guided feature) unit: gradients in space and difference in time."""

import torch
import torch.nn.functional as F
from torch import Tensor


def off(earlier: Tensor, later: Tensor) -> Tensor:
    """The spatial gradients of the earlier features, and the difference of the later and the earlier ones.

    out = concat(Fx, Fy, Ft), where Ft = later - earlier, and with * as convolution layers compute it, zero padded,
    Fx = [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]] * earlier, Fy = [[1, 1, 1], [0, 0, 0], [-1, -1, -1]] * earlier

    earlier, later  [N, C, H, W]   features of two frames
    out             [N, 3C, H, W]
    Source: "Optical flow guided feature", (4)-(7).
    """
    if earlier.dim() != 4 or earlier.shape != later.shape:
        raise ValueError(
            f"earlier and later must be [N, C, H, W] of one shape, got {list(earlier.shape)} and {list(later.shape)}"
        )
    return off_reference(earlier, later)


def off_reference(earlier: Tensor, later: Tensor) -> Tensor:
    """`off` of checked inputs, in plain torch."""
    padded = F.pad(earlier, (1, 1, 1, 1))
    columns = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    fx = columns[..., 2:] - columns[..., :-2]
    fy = rows[..., :-2, :] - rows[..., 2:, :]
    return torch.cat([fx, fy, later - earlier], dim=1)
