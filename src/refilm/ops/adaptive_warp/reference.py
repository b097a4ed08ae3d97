"""Adaptive warping in plain torch: the definition that the kernels are tested against."""

import torch
from torch import Tensor


def adaptive_warp(frame: Tensor, flow: Tensor, kernel: Tensor) -> Tensor:
    """`refilm.ops.adaptive_warp` of checked inputs, in plain torch."""
    _, c, height, width = frame.shape
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
            index = (y * width + x).flatten(1)[:, None].expand(-1, c, -1)
            value = pixels.gather(2, index).view(frame.shape)
            out = out + (share * kernel[:, j * size + i])[:, None] * value
    return out.to(frame.dtype)
