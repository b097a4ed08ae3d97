"""Adaptive warping: backward warping with a kernel for each pixel, from MEMC-Net and DAIN."""

from math import isqrt

import torch
from torch import Tensor


def adaptive_warp(frame: Tensor, flow: Tensor, kernel: Tensor) -> Tensor:
    """Sample `frame` at the positions `flow` points to, with a kernel of R x R coefficients for each output pixel.

    (u, v) = (x + dx, y + dy) is the position, clamped to the frame, and (a, b) its fractional part. The R x R pixels
    from (floor u + 1 - R/2, floor v + 1 - R/2) on, each clamped to the frame, form four quadrants around (u, v). With
    q_tl, q_tr, q_bl, q_br the sums of kernel times pixel over the quadrants (t, b: top, bottom; l, r: left, right),
    out = (1-a)(1-b) q_tl + a (1-b) q_tr + (1-a) b q_bl + a b q_br.

    frame   [N, C, H, W]
    flow    [N, 2, H, W]     (dx, dy) in pixels
    kernel  [N, R*R, H, W]   row by row, R even; R = 2 with all ones is bilinear warping
    out     [N, C, H, W]
    Source: MEMC-Net, IEEE TPAMI 2019. Departs: where the position is outside the frame, the published code copies the
    pixel (x, y), which makes a jump; clamping does not.
    """
    n, _, height, width = frame.shape
    if tuple(flow.shape) != (n, 2, height, width):
        raise ValueError(f"flow must be [N, 2, H, W] = {[n, 2, height, width]} to match frame, got {list(flow.shape)}")
    size = isqrt(kernel.shape[1]) if kernel.dim() == 4 else 0
    if tuple(kernel.shape) != (n, size * size, height, width) or size % 2 or not size:
        raise ValueError(
            f"kernel must be [N, R*R, H, W] = [{n}, R*R, {height}, {width}] with R even, got {list(kernel.shape)}"
        )
    return adaptive_warp_reference(frame, flow, kernel)


def adaptive_warp_reference(frame: Tensor, flow: Tensor, kernel: Tensor) -> Tensor:
    """`adaptive_warp` of checked inputs, in plain torch."""
    n, c, height, width = frame.shape
    size = round(kernel.shape[1] ** 0.5)
    u = (torch.arange(width, device=frame.device) + flow[:, 0]).clamp(0, width - 1)  # [N, H, W]
    v = (torch.arange(height, device=frame.device)[:, None] + flow[:, 1]).clamp(0, height - 1)
    left, top = u.floor(), v.floor()
    right_share, lower_share = u - left, v - top
    pixels = frame.flatten(2)
    out = torch.zeros_like(frame)
    for j in range(size):
        y = (top.long() + 1 - size // 2 + j).clamp(0, height - 1)
        share_y = lower_share if j >= size // 2 else 1 - lower_share
        for i in range(size):
            x = (left.long() + 1 - size // 2 + i).clamp(0, width - 1)
            share = share_y * (right_share if i >= size // 2 else 1 - right_share)
            index = (y * width + x).view(n, 1, -1).expand(-1, c, -1)
            value = pixels.gather(2, index).view(frame.shape)
            out = out + (share * kernel[:, j * size + i])[:, None] * value
    return out
