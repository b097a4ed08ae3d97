"""VSR-LS3D: video super-resolution.

Source   LS3D-Conv, "learnable sampling 3D convolution for video enhancement and action recognition", section 3.2: "an
         image super-resolution model with fewer ResBlocks" over seven frames, whose blocks are LS3D-ResBlocks, and a
         sub-pixel layer; the second form has FSTRN's P3D blocks with their 3x1x1 convolutions replaced (`p3d`).
Departs  width, depth and the skip connection (the bicubic enlargement), on which the paper is silent. By config,
         alignment by classical flow, a funnel over time, clamped offsets and a temporal filter:
         docs/choices.md#restoration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.enlargement import enlarge
from refilm.layers.optical_flow import FOR_ALIGNMENT, align_to_centre
from refilm.layers.residual import LS3DTrunk, check_trunk
from refilm.layers.temporal_filter import TemporalFilter
from refilm.models.contract import Restorer, check_clip
from refilm.models.motion import motion_source


@dataclass(frozen=True)
class VSRLS3DConfig:
    """Defaults: the paper's network for Vimeo-90K, with a width and a depth that the paper does not give.

    scale        output pixels per input pixel, along each side, at least 2
    p3d          whether the blocks are FSTRN's (P3DResBlock) instead of LS3DResBlock
    channels, blocks, ls3d_blocks, window, funnel, align, max_offset, temporal_filter, motion   as in VDNLS3DConfig

    Raises ValueError for a smaller scale, and for what no trunk can be built from.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 8
    ls3d_blocks: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    window: int = 7
    p3d: bool = False
    funnel: int | None = None
    align: bool = False
    max_offset: float | None = None
    temporal_filter: bool = False
    motion: str = "dis"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ls3d_blocks", tuple(sorted(set(self.ls3d_blocks))))  # JSON and TOML give lists
        check_trunk(self.window, self.blocks, self.ls3d_blocks, self.funnel)
        if self.scale < 2:
            raise ValueError(f"scale must be at least 2, got {self.scale}")


class VSRLS3D(nn.Module, Restorer):
    """Enlarges the middle frame of a clip: its bicubic enlargement plus a residual from the network."""

    task = "super-resolution"
    size_multiple = 1  # H and W may be anything

    def __init__(self, config: VSRLS3DConfig = VSRLS3DConfig()) -> None:
        super().__init__()
        self.config = config
        self.trunk = LS3DTrunk(
            3,
            config.channels,
            config.blocks,
            config.ls3d_blocks,
            config.window,
            config.funnel,
            config.p3d,
            config.max_offset,
        )
        self._source = motion_source(config.motion, FOR_ALIGNMENT)
        # applied to consecutive results by the caller, see Restorer; `forward` does not filter
        self.temporal_filter = TemporalFilter(self._source) if config.temporal_filter else None
        self.tail = nn.Conv2d(config.channels, 3 * config.scale**2, 3, padding=1)
        # the network starts as the bicubic enlargement
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

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
        """Input pixels of context a result of `forward` depends on, on each side.

        Without `max_offset`, this holds only while all offsets are 0.
        """
        return self.trunk.reach + 1

    def prepare(self, clip: Tensor) -> Tensor:
        """Align the frames to the middle one, if the config says so. [N, 3, T, H, W] -> same shape."""
        return align_to_centre(clip, self._source) if self.config.align else clip

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, T, H, W], RGB in [0, 1], T = `window` -> [N, 3, scale * H, scale * W], not clamped.

        Raises as `check_clip`.
        """
        check_clip(self, clip)
        return self.network(self.prepare(clip))

    def network(self, prepared: Tensor) -> Tensor:
        """See `Restorer.network`."""
        detail = F.pixel_shuffle(self.tail(self.trunk(prepared - 0.5)), self.scale)
        return detail + enlarge(prepared[:, :, self.window // 2], self.scale)
