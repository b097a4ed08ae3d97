"""BN-Inception.

Source   Ioffe and Szegedy, "Batch Normalization", ICML 2015, arXiv 1502.03167, Fig. 5, in the form in which TSN uses
         it: convolutions have a bias, and in the blocks that halve the size none follows the pooling.
Names    of parameters: TSN's "inception_3a_double_3x3_1" is "blocks.3a.double_3x3_1.0" here, its batch normalisation
         ".1", without the classifier.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.backbones.backbone import Backbone, MapSize, he_start


class Widths(NamedTuple):
    """Channels of a block's convolutions; no 1x1 in a block that halves the size.

    one         of the 1x1
    three       of the 1x1 and the 3x3 after it
    double      of the 1x1 and both 3x3 after it
    projection  of the 1x1 after the pooling; 0: none
    """

    one: int
    three: tuple[int, int]
    double: tuple[int, int]
    projection: int


BLOCKS = {
    "3a": Widths(64, (64, 64), (64, 96), 32),
    "3b": Widths(64, (64, 96), (64, 96), 64),
    "3c": Widths(0, (128, 160), (64, 96), 0),
    "4a": Widths(224, (64, 96), (96, 128), 128),
    "4b": Widths(192, (96, 128), (96, 128), 128),
    "4c": Widths(160, (128, 160), (128, 160), 128),
    "4d": Widths(96, (128, 192), (160, 192), 128),
    "4e": Widths(0, (128, 192), (192, 256), 0),
    "5a": Widths(352, (192, 320), (160, 224), 128),
    "5b": Widths(352, (192, 320), (192, 224), 128),
}


class Inception(nn.Module):
    """Up to four branches side by side, concatenated.

    largest   the pooling takes the largest of 3x3 values, as in "5b", instead of the mean
    """

    def __init__(self, channels: int, widths: Widths, largest: bool) -> None:
        super().__init__()
        self.stride = 1 if widths.one else 2
        self.largest = largest
        one, three, double, projection = widths
        if one:
            self.add_module("1x1", conv_bn_relu(channels, one, 1))
        self.add_module("3x3_reduce", conv_bn_relu(channels, three[0], 1))
        self.add_module("3x3", conv_bn_relu(three[0], three[1], 3, self.stride))
        self.double_3x3_reduce = conv_bn_relu(channels, double[0], 1)
        self.double_3x3_1 = conv_bn_relu(double[0], double[1], 3)
        self.double_3x3_2 = conv_bn_relu(double[1], double[1], 3, self.stride)
        if projection:
            self.pool_proj = conv_bn_relu(channels, projection, 1)
        self.channels = one + three[1] + double[1] + (projection or channels)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.get_submodule
        branches = [layer("1x1")(x)] if self.stride == 1 else []
        branches.append(layer("3x3")(layer("3x3_reduce")(x)))
        branches.append(self.double_3x3_2(self.double_3x3_1(self.double_3x3_reduce(x))))
        if self.stride == 2:
            branches.append(halved(x))
        else:
            pooled = F.max_pool2d(x, 3, 1, 1) if self.largest else F.avg_pool2d(x, 3, 1, 1)
            branches.append(self.pool_proj(pooled))
        return torch.cat(branches, dim=1)


class Halve(nn.Module):
    """See `halved`."""

    def forward(self, x: Tensor) -> Tensor:
        return halved(x)


class BNInception(Backbone):
    """Maps "3a" to "5b", named after the blocks: "3a" and "3b" have stride 8, "3c" to "4d" 16, "4e" to "5b" 32."""

    def __init__(self, planes: int = 3) -> None:
        super().__init__()
        self.conv1_7x7_s2 = conv_bn_relu(planes, 64, 7, 2)
        self.conv2_3x3_reduce = conv_bn_relu(64, 64, 1)
        self.conv2_3x3 = conv_bn_relu(64, 192, 3)
        self.halve = Halve()
        self.blocks = nn.ModuleDict()
        sizes, channels, stride = {}, 192, 8
        for name, widths in BLOCKS.items():
            block = Inception(channels, widths, largest=name == "5b")
            channels, stride = block.channels, stride * block.stride
            self.blocks[name] = block
            sizes[name] = MapSize(stride, channels)
        self.sizes = sizes
        he_start(self)

    def steps(self) -> Iterator[tuple[str, nn.Module]]:
        stem = (self.conv1_7x7_s2, self.halve, self.conv2_3x3_reduce, self.conv2_3x3, self.halve)
        yield from (("", step) for step in stem)
        yield from self.blocks.items()


def conv_bn_relu(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def halved(x: Tensor) -> Tensor:
    """The largest of 3x3 values at every other place, beginning with the first. [N, C, H, W] -> [N, C, H/2, W/2]

    Where the sizes are odd, they are rounded up, as the convolutions of stride 2 do.
    """
    height, width = x.shape[2:]
    return F.max_pool2d(F.pad(x, (0, 1 + width % 2, 0, 1 + height % 2)), 3, 2)  # nothing in x is below the zeros
