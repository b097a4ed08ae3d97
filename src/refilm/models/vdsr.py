"""VDSR: super-resolution of single frames by a very deep network.

Source   Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016, arXiv
         1511.04587; (3.1) below is its section 3.1.
Departs  RGB instead of luma; the last layer starts at zero, so that an untrained network is the bicubic enlargement.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refilm.layers.enlargement import CUBIC_REACH, enlarge, reach_below
from refilm.models.contract import Restorer, check_clip


@dataclass(frozen=True)
class VDSRConfig:
    """Defaults: the paper's network.

    scale     output pixels per input pixel, along each side, at least 2
    features  width of every hidden layer
    depth     number of convolutions, the first and the last included, at least 2

    Raises ValueError for smaller numbers.
    """

    scale: int = 4
    features: int = 64
    depth: int = 20

    def __post_init__(self) -> None:
        if self.scale < 2 or self.depth < 2:
            raise ValueError(f"scale and depth must be at least 2, got {self.scale} and {self.depth}")


class VDSR(nn.Module, Restorer):
    """Enlarges a frame bicubically, and adds the detail that a network estimates from the large frame (3.1)."""

    task = "super-resolution"
    window = 1
    size_multiple = 1  # H and W may be anything
    temporal_filter = None

    def __init__(self, config: VDSRConfig = VDSRConfig()) -> None:
        super().__init__()
        self.config = config
        widths = [3, *[config.features] * (config.depth - 1), 3]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            convolution = nn.Conv2d(before, after, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
            layers += [convolution, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)

    @property
    def scale(self) -> int:
        """Output pixels per input pixel, along each side."""
        return self.config.scale

    @property
    def reach(self) -> int:
        """Input pixels of context a result depends on, on each side."""
        return reach_below(self.config.depth, self.scale) + CUBIC_REACH

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 1, H, W], RGB in [0, 1] -> [N, 3, scale * H, scale * W], not clamped. Raises as `check_clip`."""
        check_clip(self, clip)
        return self.network(clip)

    def network(self, prepared: Tensor) -> Tensor:
        """See `Restorer.network`."""
        large = enlarge(prepared[:, :, 0], self.scale)
        detail: Tensor = self.layers((large - 0.5).contiguous(memory_format=torch.channels_last))
        return large + detail
