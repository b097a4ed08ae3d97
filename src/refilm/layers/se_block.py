"""Residual blocks with squeeze and excitation, without batch normalisation.

Source   Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv 1709.01507, Fig. 3 and section 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.residual import BRANCH_AT_START

REDUCTION = 16  # channels per channel within the excitation


class SqueezeExcitation(nn.Module):
    """Weighs channels by what all places together say of them. [N, C, H, W] -> same shape"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        within = max(channels // REDUCTION, 4)
        self.squeeze = nn.Conv2d(channels, within, 1)
        self.excite = nn.Conv2d(within, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True))))
        return x * weights.sigmoid()


class SEBlock(nn.Module):
    """ReLU(x + SE(Conv 3x3, ReLU, Conv 3x3)). [N, C, H, W] -> same shape. It starts as a small correction of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.weigh = SqueezeExcitation(channels)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        with torch.no_grad():
            self.conv2.weight.mul_(BRANCH_AT_START)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.weigh(self.conv2(F.relu(self.conv1(x)))))
