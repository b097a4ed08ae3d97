"""Dynamic upsampling filters, the operator of VSR-DUF."""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor


def dynamic_filter(frame: Tensor, filters: Tensor) -> Tensor:
    """Upscale `frame` s times: each output pixel has its own filter over the K x K input pixels around its place.

    frame    [N, C, H, W]
    filters  [N, K*K, s*s, H, W]   K odd; taps and sub-pixels row by row; usually softmax over the taps
    out      [N, C, sH, sW]
    Pixels outside the frame are zero. Source: VSR-DUF, (1).
    """
    n, _, height, width = frame.shape
    size, scale = (isqrt(filters.shape[1]), isqrt(filters.shape[2])) if filters.dim() == 5 else (0, 0)
    if tuple(filters.shape) != (n, size * size, scale * scale, height, width) or size % 2 == 0:
        raise ValueError(
            f"filters must be [N, K*K, s*s, H, W] = [{n}, K*K, s*s, {height}, {width}] with K odd, "
            f"got {list(filters.shape)}"
        )
    return dynamic_filter_reference(frame, filters)


def dynamic_filter_reference(frame: Tensor, filters: Tensor) -> Tensor:
    """`dynamic_filter` of checked inputs, in plain torch."""
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
