"""ESRGAN: super-resolution of single frames with plausible detail. This is its generator, RRDBNet.

Source   Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", ECCV Workshops 2018, arXiv
         1809.00219; (3.1) below is its section 3.1. The losses: training/super_resolution_losses.py.
Departs  the result is added to the bicubic enlargement, and the last layer starts at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.enlargement import CUBIC_REACH, enlarge, reach_below
from refilm.models.contract import Restorer, check_clip

RESIDUAL = 0.2  # factor on what a block adds to its input (3.1)
AT_START = 0.1  # factor on the initial weights (3.1, "smaller initialization")
SLOPE = 0.2  # of the LeakyReLU
DENSE = 5  # convolutions of a dense block


@dataclass(frozen=True)
class ESRGANConfig:
    """Defaults: the paper's network.

    scale     output pixels per input pixel, along each side, at least 2. The enlargement goes in steps, one for each of
              its prime factors
    features  width between blocks
    growth    channels that each convolution of a dense block adds
    blocks    number of residual-in-residual dense blocks

    Raises ValueError for a smaller scale.
    """

    scale: int = 4
    features: int = 64
    growth: int = 32
    blocks: int = 23

    def __post_init__(self) -> None:
        if self.scale < 2:
            raise ValueError(f"scale must be at least 2, got {self.scale}")


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and all that came before it. [N, C, H, W] -> same shape"""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            conv(features + n * growth, growth if n < DENSE - 1 else features) for n in range(DENSE)
        )

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        seen = x
        for layer in hidden:
            seen = torch.cat([seen, F.leaky_relu(layer(seen), SLOPE)], dim=1)
        out: Tensor = x + RESIDUAL * last(seen)
        return out


class RRDB(nn.Module):
    """Residual in residual: three dense blocks (Fig. 4). [N, C, H, W] -> same shape"""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(features, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + RESIDUAL * self.blocks(x)
        return out


class ESRGAN(nn.Module, Restorer):
    """Enlarges a frame: its bicubic enlargement plus detail from the network (Fig. 4)."""

    task = "super-resolution"
    window = 1
    size_multiple = 1  # H and W may be anything
    temporal_filter = None

    def __init__(self, config: ESRGANConfig = ESRGANConfig()) -> None:
        super().__init__()
        self.config = config
        c = config.features
        self.steps = prime_factors(config.scale)
        self.head = conv(3, c)
        self.trunk = nn.Sequential(*(RRDB(c, config.growth) for _ in range(config.blocks)), conv(c, c))
        self.after_step = nn.ModuleList(conv(c, c) for _ in self.steps)
        self.fine = conv(c, c)
        self.last = conv(c, 3)
        nn.init.zeros_(self.last.weight)

    @property
    def scale(self) -> int:
        """Output pixels per input pixel, along each side."""
        return self.config.scale

    @property
    def reach(self) -> int:
        """Input pixels of context a result depends on, on each side."""
        distance = 2  # `fine` and `last`, on the output's grid
        for step in reversed(self.steps):
            distance = reach_below(distance + 1, step)
        return max(1 + 3 * DENSE * self.config.blocks + 1 + distance, CUBIC_REACH)

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 1, H, W], RGB in [0, 1] -> [N, 3, scale * H, scale * W], not clamped. Raises as `check_clip`."""
        check_clip(self, clip)
        return self.network(clip)

    def network(self, prepared: Tensor) -> Tensor:
        """See `Restorer.network`."""
        frame = prepared[:, :, 0]
        x = self.head((frame - 0.5).contiguous(memory_format=torch.channels_last))
        x = x + self.trunk(x)
        for step, layer in zip(self.steps, self.after_step, strict=True):
            x = F.leaky_relu(layer(F.interpolate(x, scale_factor=step, mode="nearest")), SLOPE)
        detail: Tensor = self.last(F.leaky_relu(self.fine(x), SLOPE))
        return detail + enlarge(frame, self.scale)


def conv(channels: int, out: int) -> nn.Conv2d:
    """A convolution 3x3 with a tenth of He's initialisation."""
    layer = nn.Conv2d(channels, out, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight.mul_(AT_START)
    return layer


def prime_factors(number: int) -> list[int]:
    """The prime factors, rising: 12 -> [2, 2, 3]."""
    found, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found
