"""Correlation in plain torch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def correlation(left: Tensor, right: Tensor, radius: int) -> Tensor:
    """As `refilm.ops.correlation`: one product and mean for each shift."""
    height, width = left.shape[2:]
    padded = F.pad(right, (radius,) * 4)
    shifts = range(2 * radius + 1)
    means = [(left * padded[..., j : j + height, i : i + width]).mean(1) for j in shifts for i in shifts]
    return torch.stack(means, dim=1)
