"""Which memory format an operator answers in: that of its input, decided once here so that fakes and kernels agree."""

import torch
from torch import Tensor


def clip_format(x: Tensor) -> torch.memory_format:
    """The memory format of a [N, C, T, H, W] tensor, or of a slice of its channels: channels last if C varies fastest.

    A tensor that is contiguous too (C = 1, or T = H = W = 1) counts as contiguous.
    """
    if x.stride(1) == 1 and not x.is_contiguous():
        return torch.channels_last_3d
    return torch.contiguous_format
