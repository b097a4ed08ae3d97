"""VSR-DUF: video super-resolution by dynamic upsampling filters, without motion compensation.

Source   Jo et al., "Deep Video Super-Resolution Network Using Dynamic Upsampling Filters Without Explicit Motion
         Compensation", CVPR 2018; layers as in the authors' code (yhjo09/VSR-DUF, nets.py): VSR-DUF-16 has 6 dense
         blocks of growth 32, VSR-DUF-52 has 24 of growth 16.
Departs  the last layers start such that an untrained network enlarges linearly, the kind of interpolation that a filter
         of positive taps can be. At the border of a picture the filters count only the taps inside it, where the
         paper's darken it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.conv3d import Conv3d
from refilm.layers.enlargement import linear_taps
from refilm.models.contract import Restorer, check_clip
from refilm.ops import dynamic_filter

SIDE = 5  # K, taps of a filter along each side
# The least weight of a tap at the start: log 0 would be no start for a softmax, and much less could hardly learn.
LEAST_TAP = 1e-4


@dataclass(frozen=True)
class VSRDUFConfig:
    """Defaults: VSR-DUF-16.

    scale     output pixels per input pixel, along each side, at least 2
    features  channels of the first layer
    growth    channels that each dense block adds
    blocks    dense blocks that keep all frames; further ones follow, one for each pair of neighbours, which they drop
    window    frames in the input, an odd number, at least 3
    width     channels of the layers that residual and filters have in common; those of the filters have twice as many

    Raises ValueError for other numbers.
    """

    scale: int = 4
    features: int = 64
    growth: int = 32
    blocks: int = 3
    window: int = 7
    width: int = 256

    def __post_init__(self) -> None:
        if self.scale < 2:
            raise ValueError(f"scale must be at least 2, got {self.scale}")
        if self.window < 3 or self.window % 2 == 0:
            raise ValueError(f"window must be odd and at least 3, got {self.window}")


class DenseBlock(nn.Module):
    """BN, ReLU, Conv 1x1x1, BN, ReLU, Conv 3x3x3; its output is appended to the input.

    [N, C, T, H, W] -> [N, C + growth, T, H, W], or T - 2 frames if it `drops` the first and the last.
    """

    def __init__(self, channels: int, growth: int, drops: bool) -> None:
        super().__init__()
        self.drops = drops
        self.layers = nn.Sequential(
            nn.BatchNorm3d(channels),
            nn.ReLU(),
            conv(channels, channels, 1),
            nn.BatchNorm3d(channels),
            nn.ReLU(),
            conv(channels, growth, 3, padding=(0 if drops else 1, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :, 1:-1] if self.drops else x, self.layers(x)], dim=1)


class VSRDUF(nn.Module, Restorer):
    """Filters the middle frame by kernels made for each output pixel, and adds a residual (Fig. 2)."""

    task = "super-resolution"
    size_multiple = 1  # H and W may be anything
    temporal_filter = None

    def __init__(self, config: VSRDUFConfig = VSRDUFConfig()) -> None:
        super().__init__()
        self.config = config
        channels, pairs, width = config.features, config.window // 2, config.width
        self.head = conv(3, channels, (1, 3, 3), padding=(0, 1, 1))
        blocks = []
        for number in range(config.blocks + pairs):
            blocks.append(DenseBlock(channels, config.growth, drops=number >= config.blocks))
            channels += config.growth
        self.trunk = nn.Sequential(
            *blocks,
            nn.BatchNorm3d(channels),
            nn.ReLU(),
            conv(channels, width, (1, 3, 3), padding=(0, 1, 1)),
            nn.ReLU(),
        )
        subpixels = config.scale**2
        self.residual = nn.Sequential(conv(width, width, 1), nn.ReLU(), conv(width, 3 * subpixels, 1))
        self.filters = nn.Sequential(conv(width, 2 * width, 1), nn.ReLU(), conv(2 * width, SIDE**2 * subpixels, 1))
        self._start_linearly()

    def _start_linearly(self) -> None:
        residual, filters = self.residual[-1], self.filters[-1]
        assert isinstance(residual, nn.Conv3d)
        assert isinstance(filters, nn.Conv3d)
        assert filters.bias is not None
        nn.init.zeros_(residual.weight)
        nn.init.zeros_(filters.weight)
        with torch.no_grad():
            filters.bias.copy_(linear_taps(self.scale, SIDE).clamp(min=LEAST_TAP).log().flatten())

    @property
    def scale(self) -> int:
        """Output pixels per input pixel, along each side."""
        return self.config.scale

    @property
    def window(self) -> int:
        """Frames in the input; the middle one is enlarged."""
        return self.config.window

    @property
    def reach(self) -> int:
        """Input pixels of context a result depends on, on each side."""
        return 1 + self.config.blocks + self.window // 2 + 1

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, T, H, W], RGB in [0, 1], T = `window` -> [N, 3, scale * H, scale * W], not clamped.

        Raises as `check_clip`.
        """
        check_clip(self, clip)
        return self.network(clip)

    def network(self, prepared: Tensor) -> Tensor:
        """See `Restorer.network`."""
        x = self.trunk(self.head(prepared.contiguous(memory_format=torch.channels_last_3d)))  # [N, width, 1, H, W]
        # filters are softmaxes, which mixed precision computes in single precision anyway
        filters = self.filters(x).float().squeeze(2).unflatten(1, (SIDE**2, self.scale**2)).softmax(dim=1)
        return self._filtered(prepared[:, :, self.window // 2].float(), filters) + F.pixel_shuffle(
            self.residual(x).squeeze(2), self.scale
        )

    @staticmethod
    def _filtered(frame: Tensor, filters: Tensor) -> Tensor:
        """The frame enlarged. A plane of ones beside RGB tells the weight of the taps that lie inside the picture."""
        weighed = dynamic_filter(torch.cat([frame, torch.ones_like(frame[:, :1])], dim=1), filters)
        return weighed[:, :3] / weighed[:, 3:]


def conv(channels: int, out: int, kernel: int | tuple[int, ...], padding: int | tuple[int, ...] = 0) -> Conv3d:
    """A convolution with He's initialisation."""
    layer = Conv3d(channels, out, kernel, padding=padding)  # type: ignore[arg-type]
    nn.init.kaiming_normal_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
