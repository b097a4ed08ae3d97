"""Backward warping in plain torch: the definition that the kernels are tested against."""

import torch
import torch.nn.functional as F
from torch import Tensor


def backward_warp(frame: Tensor, flow: Tensor) -> Tensor:
    """`refilm.ops.backward_warp` of checked inputs, in plain torch."""
    height, width = frame.shape[2:]
    # positions need float32 at least: half precision has no fractions of a pixel far from the corner
    exact = torch.promote_types(torch.promote_types(frame.dtype, flow.dtype), torch.float32)
    x = torch.arange(width, device=flow.device) + flow[:, 0].to(exact)
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1].to(exact)
    # for grid_sample -1 and 1 are the outer edges of the outer pixels, so that a width or height of 1 works as well
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(frame.to(exact), grid, padding_mode="zeros", align_corners=False).to(frame.dtype)
