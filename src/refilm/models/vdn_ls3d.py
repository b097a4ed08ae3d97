"""VDN-LS3D: video denoising.

Source   LS3D-Conv, "learnable sampling 3D convolution for video enhancement and action recognition", section 3.2: the
         trunk of VSR-LS3D without upsampling, trained on Gaussian noise.
Departs  one model for every strength of noise, told or not (`sigma_8bit`); and, by config, alignment by classical
         flow, a funnel over time and work at half the size, which make it fast, and training on what compression does
         instead of noise (`task`): docs/choices.md#restoration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.clips import check_clip, strength_planes, unshuffle
from refilm.layers.optical_flow import align_to_centre
from refilm.layers.residual import LS3DTrunk, check_trunk
from refilm.layers.temporal_filter import TemporalFilter
from refilm.models.contract import Restorer


@dataclass(frozen=True)
class VDNLS3DConfig:
    """Defaults: the paper's network; it gives no width and no depth.

    task         "denoising", or "deblocking" for the artifacts of compression
    channels     width of every hidden layer
    blocks       residual blocks
    ls3d_blocks  which of them use LS3D-Conv, counted from 1; () is the paper's 3D-convolution baseline
    window       frames in, odd; the middle one is restored
    shuffle      pixels of a square this wide become channels of one position
    funnel       the block that brings the frames together; None: all blocks keep all frames
    align        the other frames are first moved onto the middle one by a classical flow: LS3D-Conv's offsets then
                 start at the motion instead of at zero
    max_offset   positions that offsets are cut to, which makes the reach finite; None: they go anywhere
    temporal_filter  whether frames, once restored, are averaged along their motion
    """

    task: Literal["denoising", "deblocking"] = "denoising"
    channels: int = 64
    blocks: int = 8
    ls3d_blocks: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    window: int = 7
    shuffle: int = 1
    funnel: int | None = None
    align: bool = False
    max_offset: float | None = None
    temporal_filter: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "ls3d_blocks", tuple(sorted(set(self.ls3d_blocks))))  # JSON and TOML give lists
        if self.task not in ("denoising", "deblocking"):
            raise ValueError(f'task must be "denoising" or "deblocking", got {self.task!r}')
        check_trunk(self.window, self.blocks, self.ls3d_blocks, self.funnel)


class VDNLS3D(nn.Module, Restorer):
    """The middle frame of a clip, without its noise."""

    def __init__(self, config: VDNLS3DConfig = VDNLS3DConfig()) -> None:
        super().__init__()
        self.config, self.task = config, config.task
        planes = 3 * config.shuffle**2
        # two planes more: the strength of the noise, and whether it is known; artifacts have none, but a network for
        # them can start from a denoiser's weights
        self.trunk = LS3DTrunk(
            planes + 2,
            config.channels,
            config.blocks,
            config.ls3d_blocks,
            config.window,
            config.funnel,
            max_offset=config.max_offset,
        )
        # for results one after another: what `forward` gives is not filtered
        self.temporal_filter = TemporalFilter() if config.temporal_filter else None
        self.tail = nn.Conv2d(config.channels, planes, 3, padding=1)
        # the network starts as the identity
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    @property
    def window(self) -> int:
        """Frames in."""
        return self.config.window

    @property
    def size_multiple(self) -> int:
        """H and W must be multiples of this."""
        return self.config.shuffle

    @property
    def reach(self) -> int:
        """Pixels of context a result of `forward` depends on, on each side; without max_offset, while offsets are 0."""
        # a pixel at the edge of its position's square reads to the far edge of the last one
        return self.config.shuffle * (self.trunk.reach + 2) - 1

    def prepare(self, clip: Tensor) -> Tensor:
        """What is done once for the whole picture, before tiles. [N, 3, T, H, W] -> same shape."""
        return align_to_centre(clip) if self.config.align else clip

    def forward(self, clip: Tensor, sigma_8bit: float | Tensor | None = None) -> Tensor:
        """[N, 3, T, H, W] -> [N, 3, H, W], the middle frame restored, not clamped.

        sigma_8bit  standard deviation of the noise, of 255; a tensor [N] gives one a clip, NaN where unknown. None:
                    the network finds out
        """
        check_clip(clip, self.window, self.size_multiple, "vdn-ls3d")
        x = unshuffle(clip, self.config.shuffle) - 0.5
        strength = strength_planes(sigma_8bit, clip)[:, :, None, None, None].expand(-1, -1, *x.shape[2:])
        residual = self.tail(self.trunk(torch.cat([x, strength], dim=1)))
        return clip[:, :, self.window // 2] + F.pixel_shuffle(residual, self.config.shuffle)
