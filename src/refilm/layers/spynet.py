"""SpyNet: optical flow by a pyramid of small networks, as DVC uses it.

Source   Ranjan and Black, "Optical Flow Estimation using a Spatial Pyramid Network", CVPR 2017, arXiv 1611.00850.
Departs  sees frames in [0, 1] without normalisation, and is trained within a codec, without truth.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.sampling import pixel_grid, sample

WIDTHS = (8, 32, 64, 32, 16, 2)  # of the five 7x7 convolutions of a level, the input first


class SpyNet(nn.Module):
    """Flow from the first frame to the second.

    levels   of the pyramid, each with a network of its own
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level() for _ in range(levels))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """[N, 3, H, W] twice, H and W multiples of 2^(levels - 1) -> [N, 2, H, W], (dx, dy) in pixels"""
        pyramid = [(first, second)]
        for _ in self.levels[1:]:
            pyramid.append((F.avg_pool2d(pyramid[-1][0], 2), F.avg_pool2d(pyramid[-1][1], 2)))
        coarsest = pyramid[-1][0]
        flow = coarsest.new_zeros(len(coarsest), 2, *coarsest.shape[2:])
        for number, network in enumerate(self.levels):
            here, there = pyramid.pop()
            if number:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear")
            warped = sample(there, pixel_grid(flow.shape[2], flow.shape[3], flow.device) + flow)
            flow = flow + network(torch.cat((here, warped, flow), dim=1))
        return flow


def _level() -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after in pairwise(WIDTHS):
        parts += [nn.Conv2d(before, after, 7, padding=3), nn.ReLU()]
    last = parts[-2]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)  # no motion at first
    return nn.Sequential(*parts[:-1])
