"""Correlation in plain torch: the definition that the kernels are tested against."""

import torch
import torch.nn.functional as F
from torch import Tensor


def correlation(left: Tensor, right: Tensor, radius: int) -> Tensor:
    """`refilm.ops.correlation` of checked inputs, in plain torch."""
    height, width = left.shape[2:]
    padded = F.pad(right, (radius,) * 4)
    shifts = range(2 * radius + 1)
    means = [(left * padded[..., j : j + height, i : i + width]).mean(1) for j in shifts for i in shifts]
    return torch.stack(means, dim=1).to(left.dtype)
