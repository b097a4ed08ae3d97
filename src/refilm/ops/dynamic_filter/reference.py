"""Dynamic upsampling filters in plain torch: the definition that the kernels are tested against."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dynamic_filter(frame: Tensor, filters: Tensor) -> Tensor:
    """`refilm.ops.dynamic_filter` of checked inputs, in plain torch."""
    height, width = frame.shape[2:]
    size, scale = (round(count**0.5) for count in filters.shape[1:3])
    padded = F.pad(frame, (size // 2,) * 4)
    out = frame.new_zeros(frame.shape[0], frame.shape[1], scale * scale, height, width)
    # Tap by tap, because a batch of one small matrix product for each pixel (3 x 25 by 25 x 16) is slow.
    for tap in range(size * size):
        j, i = divmod(tap, size)
        near = padded[..., j : j + height, i : i + width].unsqueeze(2)
        out = torch.addcmul(out, near, filters[:, None, tap])
    return F.pixel_shuffle(out.flatten(1, 2), scale)
