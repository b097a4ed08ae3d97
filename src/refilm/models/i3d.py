"""I3D on ResNet-50: a network for pictures, inflated to clips; with LS3D-Conv and with non-local blocks.

Source   Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, arXiv 1705.07750, for the inflation; Wang
         et al., "Non-local Neural Networks", CVPR 2018, arXiv 1711.07971, section 4 and Table 1, for the network and
         the blocks; "Learnable sampling 3D convolution for video enhancement and action recognition", section 4.5.
Departs  the first pooling is padded as in torchvision's ResNet, so that an inflated network sees what that sees.
Names    of parameters are torchvision's, without the classifier: weights for pictures fit once they are inflated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.backbones import normalised
from refilm.layers.backbones.backbone import he_start
from refilm.layers.backbones.resnet import BLOCKS, EXPANSION, WIDTH
from refilm.layers.consensus import classifier
from refilm.layers.conv3d import Conv3d
from refilm.layers.ls3d import LS3DConv
from refilm.models.contract import Recognizer, Sampling, check_clip
from refilm.models.tsn import numbered

# Blocks whose first convolution sees three frames: all of res2, every other one of the later stages.
TEMPORAL = ((0, 1, 2), (0, 2), (0, 2, 4), (1,))
# Blocks that a non-local block follows: two in res3 and three in res4.
NON_LOCAL: tuple[tuple[int, ...], ...] = ((), (1, 3), (1, 3, 5), ())


@dataclass(frozen=True)
class I3DConfig:
    """Defaults: the paper's network for Kinetics-400.

    labels         names of the classes
    width          channels within the blocks of res2; 32 for half the width
    ls3d           LS3D-Conv in the place of all 3x1x1 convolutions
    max_offset     of these, see `LS3DConv`
    non_local      whether there are non-local blocks
    dropout        before the classifier
    frames         of a clip, a multiple of 8
    rate           frames per second
    side           of frames, pixels
    """

    labels: tuple[str, ...] = numbered(400)
    width: int = WIDTH
    ls3d: bool = False
    max_offset: float | None = None
    non_local: bool = False
    dropout: float = 0.5
    frames: int = 32
    rate: float = 12.5
    side: int = 224

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if not self.labels:
            raise ValueError("labels must name a class")
        if self.frames % 8:
            raise ValueError(f"frames must be a multiple of 8 (the stride in time), got {self.frames}")


class Block(nn.Module):
    """A bottleneck whose first convolution may see three frames. [N, C, T, H, W] -> [N, 4 * width, T, H', W']"""

    def __init__(self, channels: int, width: int, stride: int, temporal: bool) -> None:
        super().__init__()
        out = EXPANSION * width
        self.conv1: nn.Conv3d
        self.conv1, self.bn1 = conv_bn(channels, width, (3, 1, 1) if temporal else (1, 1, 1), (1, 1, 1))
        self.conv2, self.bn2 = conv_bn(width, width, (1, 3, 3), (1, stride, stride))
        self.conv3, self.bn3 = conv_bn(width, out, (1, 1, 1), (1, 1, 1))
        same = stride == 1 and channels == out
        self.downsample = (
            nn.Identity() if same else nn.Sequential(*conv_bn(channels, out, (1, 1, 1), (1, stride, stride)))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(y)))


class NonLocal(nn.Module):
    """Adds to each place what it finds at all places of the clip: embedded Gaussian, with a bottleneck of 1/2.

    Keys and values are taken from the largest of 2x2 places. The affinities are scaled as in the authors' program. The
    block begins as the identity. [N, C, T, H, W] -> same shape
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.theta, self.phi, self.g = (nn.Conv3d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv3d(inner, channels, 1)
        self.bn = nn.BatchNorm3d(channels)
        for conv in (self.theta, self.phi, self.g, self.out):
            nn.init.normal_(conv.weight, std=0.01)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        reduced = F.max_pool3d(x, (1, 2, 2), ceil_mode=True)
        query, key, value = (
            conv(source).flatten(2) for conv, source in ((self.theta, x), (self.phi, reduced), (self.g, reduced))
        )
        affinity = (query.mT @ key / query.shape[1] ** 0.5).softmax(dim=2)  # [N, THW, T H/2 W/2]
        found = (value @ affinity.mT).unflatten(2, x.shape[2:])
        out: Tensor = x + self.bn(self.out(found))
        return out


class I3D(nn.Module, Recognizer):
    """Classifies a clip of consecutive frames."""

    task = "recognition"
    reach = None

    def __init__(self, config: I3DConfig = I3DConfig()) -> None:
        super().__init__()
        self.config = config
        self.conv1, self.bn1 = conv_bn(3, 64, (5, 7, 7), (2, 2, 2))
        channels = 64
        for number, blocks in enumerate(BLOCKS):
            width, stage = config.width * 2**number, nn.Sequential()
            for place in range(blocks):
                stride = 2 if number and place == 0 else 1
                stage.append(Block(channels, width, stride, temporal=place in TEMPORAL[number]))
                channels = EXPANSION * width
            self.add_module(f"layer{number + 1}", stage)
        he_start(self)
        self.non_local = nn.ModuleDict()
        if config.non_local:
            for number, places in enumerate(NON_LOCAL):
                for place in places:
                    self.non_local[f"{number}-{place}"] = NonLocal(EXPANSION * config.width * 2**number)
        if config.ls3d:
            self._put_ls3d()
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = classifier(channels, len(config.labels))

    @property
    def labels(self) -> tuple[str, ...]:
        return self.config.labels

    @property
    def sampling(self) -> Sampling:
        c = self.config
        rate = Fraction(c.rate).limit_denominator(1000)
        return Sampling(1, c.frames, rate, c.side, c.side, seconds=c.frames / rate)

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, T, H, W], RGB in [0, 1], T a multiple of 8 -> logits [N, K]. Raises as `check_clip`."""
        known = isinstance(clip, Tensor) and clip.ndim == 5 and clip.shape[2] % 8 == 0
        check_clip(self, clip, (clip.shape[2],) if known else ())
        logits: Tensor = self.classifier(self.dropout(self.features(clip).mean(dim=(2, 3, 4))))
        return logits

    def features(self, clip: Tensor) -> Tensor:
        """The map before the mean over the clip. -> [N, 32 * width, T/8, H/32, W/32]"""
        x = normalised(clip.transpose(1, 2)).transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool3d(x, (2, 3, 3), (2, 2, 2), (0, 1, 1))
        for number in range(len(BLOCKS)):
            for place, block in enumerate(self.get_submodule(f"layer{number + 1}").children()):
                x = block(x)
                if (name := f"{number}-{place}") in self.non_local:
                    x = self.non_local[name](x)
            if number == 0:
                x = F.max_pool3d(x, (2, 1, 1))
        return x

    def heads(self, clip: Tensor) -> dict[str, Tensor]:
        """The logits [N, K] of the only classifier. `clip` as for the call."""
        return {"rgb": self(clip)}

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Inflate the weights of a ResNet-50 for pictures, by names as torchvision's, without a classifier.

        Each kernel of k frames gets the weights of the picture's, divided by k, for each frame. Non-local blocks and
        the offsets and importances of LS3D-Conv keep their start. Raises RuntimeError if names or shapes differ.
        """
        own = self.state_dict()
        new = ("non_local.", "classifier.")
        inflated = {
            name: inflate(value, own[name].shape[2]) if name in own and own[name].ndim == 5 else value
            for name, value in state.items()
        }
        kept = {name: value for name, value in own.items() if name.startswith(new) or ".sampling." in name}
        self.load_state_dict(kept | inflated)

    def _put_ls3d(self) -> None:
        """LS3D-Conv in the place of each 3x1x1 convolution, which keeps its weights."""
        for block in self.modules():
            if isinstance(block, Block) and block.conv1.kernel_size == (3, 1, 1):
                layer = LS3DConv.from_conv3d(block.conv1, sampling_kernel=(3, 1, 1))
                layer.max_offset = self.config.max_offset
                block.conv1 = layer


def inflate(weight: Tensor, frames: int) -> Tensor:
    """The kernel of a 2D convolution, repeated over time. [O, C, H, W] -> [O, C, frames, H, W], of the same sum"""
    return weight.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames


def conv_bn(
    channels: int, out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> tuple[Conv3d, nn.BatchNorm3d]:
    """A convolution without bias that keeps the size but for its stride, and its batch normalisation."""
    padding = kernel[0] // 2, kernel[1] // 2, kernel[2] // 2
    return Conv3d(channels, out, kernel, stride, padding, bias=False), nn.BatchNorm3d(out)
