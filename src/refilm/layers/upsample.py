"""Deconvolution over time, which turns two frames into three, and three into five."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refilm.layers.conv3d import conv3d


class TemporalUpsample(nn.ConvTranspose3d):
    """Deconvolution 3x3x3 with stride (2, 1, 1) and padding 1. [N, C, T, H, W] -> [N, C', 2T - 1, H, W].

    Computed as a convolution after zero frames have been inserted between the frames of the clip, which is equivalent
    and faster on a CPU.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=(2, 1, 1), padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        n, c, t, h, w = x.shape
        spread = x.new_zeros(n, c, 2 * t - 1, h, w).to(memory_format=torch.channels_last_3d)
        spread[:, :, ::2] = x
        return conv3d(spread, self.weight.transpose(0, 1).flip(2, 3, 4), self.bias, padding=(1, 1, 1))
