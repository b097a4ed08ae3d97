"""The memory format of an operator's output is that of its input. Fakes and kernels both ask here, so they agree."""

import torch
from torch import Tensor


def clip_format(x: Tensor) -> torch.memory_format:
    """Channels last if the channels of x [N, C, T, H, W] are adjacent in memory, else contiguous.

    This is also right for a slice of the channels. A tensor in both formats (such as C = 1) counts as contiguous.
    """
    if x.stride(1) == 1 and not x.is_contiguous():
        return torch.channels_last_3d
    return torch.contiguous_format
