"""Networks of inverted residual blocks: what MobileNetV2 and EfficientNet-Lite have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from refilm.layers.backbones.backbone import Backbone, MapSize, Temporal, conv_bn, he_start, through

STEM, LAST = 32, 1280  # channels of the first and of the last convolution


class Stage(NamedTuple):
    """Blocks of one kind: expansion, channels, number, stride of the first, side of the depthwise kernel."""

    expand: int
    channels: int
    blocks: int
    stride: int
    kernel: int = 3


class InvertedResidual(Temporal):
    """1x1 convolution to `expand` times the channels, depthwise one, linear 1x1, plus the input if shapes agree.

    `before` comes before these three. `middle` is the place of the depthwise convolution in `conv`.
    """

    def __init__(self, channels: int, out: int, stride: int, expand: int, kernel: int) -> None:
        super().__init__()
        hidden = expand * channels
        self.residual = stride == 1 and channels == out
        self.before: nn.Module = nn.Identity()
        layers = [*conv_bn(channels, hidden, 1), nn.ReLU6(inplace=True)] if expand > 1 else []
        self.middle = len(layers)
        layers += [*conv_bn(hidden, hidden, kernel, stride, groups=hidden), nn.ReLU6(inplace=True)]
        self.conv = nn.Sequential(*layers, *conv_bn(hidden, out, 1))

    def forward(self, x: Tensor, length: int) -> Tensor:
        y = through(self.before, x, length)
        for layer in self.conv:
            y = through(layer, y, length)
        return x + y if self.residual else y


class InvertedResidualNet(Backbone):
    """A 3x3 convolution, stages of inverted residual blocks, a 1x1 convolution. Maps "0", "1" ..., one for each part.

    The names of the parameters are those of MobileNetV2 in torchvision 0.8, without the classifier.
    """

    def __init__(self, planes: int, stages: Sequence[Stage]) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Sequential(*conv_bn(planes, STEM, 3, stride=2), nn.ReLU6(inplace=True))]
        sizes, channels, stride = [MapSize(2, STEM)], STEM, 2
        for stage in stages:
            for step in (stage.stride, *(1,) * (stage.blocks - 1)):
                parts.append(InvertedResidual(channels, stage.channels, step, stage.expand, stage.kernel))
                channels, stride = stage.channels, step * stride
                sizes.append(MapSize(stride, channels))
        parts.append(nn.Sequential(*conv_bn(channels, LAST, 1), nn.ReLU6(inplace=True)))
        self.features = nn.Sequential(*parts)
        self.sizes = {str(number): size for number, size in enumerate([*sizes, MapSize(stride, LAST)])}
        he_start(self)

    def steps(self) -> Iterator[tuple[str, nn.Module]]:
        return ((str(number), part) for number, part in enumerate(self.features))
