"""3D convolutions that reach oneDNN at every size.

PyTorch sends float32 convolutions with one clip in the batch and N*C*T*H <= 20480 to a generic kernel that is 5-10
times slower on a CPU than oneDNN in channels-last (its rule was made for 2D). The layers here are nn.Conv3d and
nn.ConvTranspose3d in all but that: same parameters, same names, same results to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _calls_onednn(x: Tensor) -> bool:
    """Whether to pass PyTorch's own choice by: eager float32 on a CPU that has oneDNN, outside autocast."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.onnx.is_in_onnx_export()
    )


class Conv3d(nn.Conv3d):
    """nn.Conv3d with zero padding. [N, C, T, H, W] -> [N, C', T', H', W']."""

    def forward(self, x: Tensor) -> Tensor:
        if _calls_onednn(x):
            return torch.ops.aten.mkldnn_convolution(
                x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
            )
        return super().forward(x)


class TemporalUpsample(nn.ConvTranspose3d):
    """Deconvolution 3x3x3 with stride (2, 1, 1) and padding 1. [N, C, T, H, W] -> [N, C', 2T - 1, H, W].

    Computed as a convolution of the clip with zero frames put between its frames, which is the definition of a
    deconvolution and, on a CPU, the faster form.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=(2, 1, 1), padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        n, c, t, h, w = x.shape
        spread = x.new_zeros(n, c, 2 * t - 1, h, w).to(memory_format=torch.channels_last_3d)
        spread[:, :, ::2] = x
        weight = self.weight.transpose(0, 1).flip(2, 3, 4)
        if _calls_onednn(x):
            return torch.ops.aten.mkldnn_convolution(spread, weight, self.bias, [1] * 3, [1] * 3, [1] * 3, 1)
        return F.conv3d(spread, weight, self.bias, padding=1)
