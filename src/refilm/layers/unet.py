"""The U-Net of MEMC-Net and DAIN, and heads that begin at zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UNet(nn.Module):
    """An encoder and a decoder of 3x3 convolutions with ReLU, whose levels are joined by addition.

    The encoder halves height and width at every level by the largest of 2x2 positions, the decoder doubles them by
    bilinear interpolation. The input is padded to multiples of 2^levels by repeating its border.
    [N, planes, H, W] -> [N, features, H, W]

    planes    channels of the input
    stem      channels of the first convolution
    widths    channels of each level of the encoder, from the finest to the coarsest
    features  channels of the output
    convs     convolutions of a level: one in DAIN, two in MEMC-Net
    """

    def __init__(self, planes: int, stem: int, widths: Sequence[int], features: int, convs: int) -> None:
        super().__init__()
        self.stem = convs_with_relu(planes, stem, 1)
        self.down, self.before, self.after = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for width, finer in zip(widths, (stem, *widths[:-1]), strict=True):
            self.down.append(convs_with_relu(finer, width, convs))
        self.middle = convs_with_relu(widths[-1], widths[-1], convs)
        for width, finer in zip(widths[::-1], (*widths[-2::-1], features), strict=True):
            self.before.append(convs_with_relu(width, width, convs - 1))
            self.after.append(convs_with_relu(width, finer, 1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        multiple = 2 ** len(self.down)
        x = self.stem(F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate"))
        levels = []
        for down in self.down:
            levels.append(down(x))
            x = F.max_pool2d(levels[-1], 2)
        x = self.middle(x)
        for before, after in zip(self.before, self.after, strict=True):
            x = F.interpolate(before(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = after(x + levels.pop())
        return x[:, :, :height, :width]


class UNetOfPair(nn.Module):
    """A U-Net with a head for each of two frames, which begin at zero. [N, planes, H, W] -> [2N, out, H, W]

    The other arguments are those of `UNet`.
    """

    def __init__(self, planes: int, stem: int, widths: Sequence[int], features: int, convs: int, out: int) -> None:
        super().__init__()
        self.body = UNet(planes, stem, widths, features, convs)
        self.heads = nn.ModuleList(head(features, out) for _ in range(2))
        he_start(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return torch.cat([own(x) for own in self.heads]).float()


def convs_with_relu(planes: int, width: int, count: int) -> nn.Sequential:
    """`count` convolutions 3x3, each followed by ReLU. [N, planes, H, W] -> [N, width, H, W]"""
    layers: list[nn.Module] = []
    for number in range(count):
        layers += [nn.Conv2d(width if number else planes, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def head(features: int, planes: int) -> nn.Sequential:
    """Convolution, ReLU, convolution; zero until it is trained. [N, features, H, W] -> [N, planes, H, W]"""
    return nn.Sequential(convs_with_relu(features, features, 1), at_zero(nn.Conv2d(features, planes, 3, padding=1)))


def he_start(module: nn.Module) -> None:
    """He initialisation of all convolutions in a module, but for those that are zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.any():
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def at_zero(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution, its weights and biases set to zero."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
