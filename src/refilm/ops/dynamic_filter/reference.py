"""Dynamic upsampling filters in plain torch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dynamic_filter(frame: Tensor, filters: Tensor) -> Tensor:
    """As `refilm.ops.dynamic_filter`."""
    height, width = frame.shape[2:]
    size, scale = (round(count**0.5) for count in filters.shape[1:3])
    padded = F.pad(frame, (size // 2,) * 4)
    out = frame.new_zeros(frame.shape[0], frame.shape[1], scale * scale, height, width)
    # tap by tap: a matrix product a pixel, of 3 x 25 by 25 x 16, is what its libraries are slowest at
    for tap in range(size * size):
        j, i = divmod(tap, size)
        near = padded[..., j : j + height, i : i + width].unsqueeze(2)
        out = torch.addcmul(out, near, filters[:, None, tap])
    return F.pixel_shuffle(out.flatten(1, 2), scale)
