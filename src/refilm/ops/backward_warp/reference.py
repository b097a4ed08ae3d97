"""Backward warping in plain torch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def backward_warp(frame: Tensor, flow: Tensor) -> Tensor:
    """As `refilm.ops.backward_warp`. Positions are worked out in float32 at least: half precision cannot hold them."""
    height, width = frame.shape[2:]
    exact = torch.promote_types(torch.promote_types(frame.dtype, flow.dtype), torch.float32)
    x = torch.arange(width, device=flow.device) + flow[:, 0].to(exact)
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1].to(exact)
    # grid_sample counts from -1 to 1, edge to edge of the outer pixels; so a size of 1 is no special case
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(frame.to(exact), grid, padding_mode="zeros", align_corners=False).to(frame.dtype)
