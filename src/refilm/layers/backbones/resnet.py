"""ResNet-50, of full and of half width, and ResNet-101.

Source   He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385, Table 1.
Names    of parameters are torchvision's, without the classifier.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.backbones.backbone import Backbone, MapSize, Temporal, conv_bn, he_start, through

BLOCKS = (3, 4, 6, 3)  # of the stages res2 to res5 in ResNet-50
WIDTH = 64  # channels within the blocks of res2; each stage has twice as many as the one before
EXPANSION = 4  # channels of a block's output per channel within


class Bottleneck(Temporal):
    """1x1, 3x3 and 1x1 convolution, plus the input, or a projection of it if shapes differ.

    `before` comes before the first; `conv2` may be a module that sees neighbouring frames.

    stride_first   the first convolution has the stride, as in the paper; else the second, as it is done since
    """

    def __init__(self, channels: int, width: int, stride: int, stride_first: bool) -> None:
        super().__init__()
        out, first, second = EXPANSION * width, *((stride, 1) if stride_first else (1, stride))
        self.before: nn.Module = nn.Identity()
        self.conv1, self.bn1 = conv_bn(channels, width, 1, first)
        self.conv2: nn.Module
        self.conv2, self.bn2 = conv_bn(width, width, 3, second)
        self.conv3, self.bn3 = conv_bn(width, out, 1)
        same = stride == 1 and channels == out
        self.downsample = nn.Identity() if same else nn.Sequential(*conv_bn(channels, out, 1, stride))

    def forward(self, x: Tensor, length: int) -> Tensor:
        y = F.relu(self.bn1(self.conv1(through(self.before, x, length))))
        y = F.relu(self.bn2(through(self.conv2, y, length)))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(y)))


class ResNet50(Backbone):
    """Maps "res2", "res3", "res4" and "res5", with strides 4, 8, 16 and 32.

    width          channels within the blocks of res2: 64, or 32 for the thin one
    stride_first   see `Bottleneck`
    """

    blocks = BLOCKS

    def __init__(self, planes: int = 3, width: int = WIDTH, stride_first: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(planes, 64, 7, 2)
        self.stem = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        channels, sizes = 64, {}
        for number, blocks in enumerate(self.blocks):
            inner, stage = width * 2**number, nn.Sequential()
            for block in range(blocks):
                stride = 2 if number and block == 0 else 1
                stage.append(Bottleneck(channels, inner, stride, stride_first))
                channels = EXPANSION * inner
            self.add_module(f"layer{number + 1}", stage)
            sizes[f"res{number + 2}"] = MapSize(4 * 2**number, channels)
        self.sizes = sizes
        he_start(self)

    def steps(self) -> Iterator[tuple[str, nn.Module]]:
        yield from (("", self.conv1), ("", self.bn1), ("", self.stem))
        for number, blocks in enumerate(self.blocks):
            for place, block in enumerate(self.get_submodule(f"layer{number + 1}").children()):
                yield f"res{number + 2}" if place == blocks - 1 else "", block


class ResNet101(ResNet50):
    """As ResNet-50, with 23 blocks in res4."""

    blocks = (3, 4, 23, 3)
