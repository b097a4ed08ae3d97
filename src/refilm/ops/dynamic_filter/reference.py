"""Dynamic upsampling filters in plain torch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dynamic_filter(frame: Tensor, filters: Tensor) -> Tensor:
    """As `refilm.ops.dynamic_filter`."""
    n, c, height, width = frame.shape
    taps, subpixels = filters.shape[1:3]
    size, scale = round(taps**0.5), round(subpixels**0.5)
    near = F.unfold(frame, size, padding=size // 2).view(n, c, taps, height, width)
    out = torch.einsum("nckhw,nkshw->ncshw", near, filters)
    return F.pixel_shuffle(out.flatten(1, 2), scale)
