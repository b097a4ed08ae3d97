"""Enlargement of frames by fixed interpolation, which networks for super-resolution start from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CUBIC_REACH = 2  # input pixels that `enlarge` looks at beyond a pixel, on each side


def enlarge(frames: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement with a = -0.5, as MATLAB's. [N, C, H, W] -> [N, C, sH, sW]

    PyTorch uses a = -0.5 with `antialias=True`, and -0.75 without.
    """
    return F.interpolate(frames, scale_factor=scale, mode="bicubic", antialias=True)


def linear_taps(scale: int, side: int) -> Tensor:
    """The filters of linear enlargement, as `refilm.ops.dynamic_filter` takes them. -> [side * side, scale * scale]

    side   K, odd, at least 3: taps along each side around the input pixel
    out    K*K taps, s*s sub-pixels, both row by row; the taps of each sub-pixel sum to 1
    """
    places = (torch.arange(scale) + 0.5) / scale - 0.5  # of the sub-pixels, in input pixels from the centre of theirs
    taps = torch.arange(side) - side // 2
    row = (1 - (taps[:, None] - places).abs()).clamp(min=0)  # [K, s]
    return torch.einsum("js,it->jist", row, row).reshape(side**2, scale**2)


def reach_below(distance: int, scale: int) -> int:
    """Input pixels, on each side of one, that lie within `distance` pixels of it on a grid `scale` times as fine."""
    return -(-distance // scale)
