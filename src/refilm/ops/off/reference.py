"""The gradients and the difference of OFF in plain torch: slices and sums, which torch.compile makes one pass of."""

import torch
import torch.nn.functional as F
from torch import Tensor


def off(earlier: Tensor, later: Tensor) -> Tensor:
    """As `refilm.ops.off`."""
    padded = F.pad(earlier, (1, 1, 1, 1))
    columns = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    fx = columns[..., 2:] - columns[..., :-2]
    fy = rows[..., :-2, :] - rows[..., 2:, :]
    return torch.cat([fx, fy, later - earlier], dim=1)
