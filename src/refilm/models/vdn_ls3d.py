"""VDN-LS3D: video denoising.

Source   LS3D-Conv, "learnable sampling 3D convolution for video enhancement and action recognition", section 3.2: the
         trunk of VSR-LS3D without upsampling, trained on Gaussian noise.
Departs  width and depth, on which the paper is silent; one model for every strength of noise, which may be given as an
         input (`sigma_8bit`). By config: alignment by classical flow, a funnel over time, work at half the size,
         clamped offsets, a temporal filter; and removal of compression artifacts instead of noise (`task`):
         docs/choices.md#restoration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.clips import strength_planes, unshuffle
from refilm.layers.optical_flow import FOR_ALIGNMENT, align_to_centre
from refilm.layers.residual import LS3DTrunk, check_trunk
from refilm.layers.temporal_filter import TemporalFilter
from refilm.models.contract import Restorer, check_clip
from refilm.models.motion import motion_source


@dataclass(frozen=True)
class VDNLS3DConfig:
    """Defaults: the paper's network, with a width and a depth that the paper does not give.

    task         "denoising", or "deblocking" for the removal of compression artifacts
    channels     width of every hidden layer
    blocks       number of residual blocks
    ls3d_blocks  which of them use LS3D-Conv, counted from 1; () is the paper's 3D-convolution baseline
    window       frames in the input, an odd number; the middle one is restored
    shuffle      the network works on the frames reduced by this factor: `shuffle` x `shuffle` pixels become channels
    funnel       number of the block that merges the frames into one (see LS3DTrunk); None: all blocks keep all frames
    align        whether the other frames are first backward-warped to the middle one along classical optical flow, so
                 that LS3D-Conv's offsets start at the motion instead of at zero
    max_offset   offsets are clamped to this, in positions of the reduced frames, which makes the reach finite; None:
                 not clamped
    temporal_filter  whether restored frames are averaged with their neighbours along the motion (TemporalFilter)
    motion       where the motion for both comes from, see `refilm.models.motion`

    Raises ValueError for another task, and for what no trunk can be built from.
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
    motion: str = "dis"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ls3d_blocks", tuple(sorted(set(self.ls3d_blocks))))  # JSON and TOML give lists
        if self.task not in ("denoising", "deblocking"):
            raise ValueError(f'task must be "denoising" or "deblocking", got {self.task!r}')
        check_trunk(self.window, self.blocks, self.ls3d_blocks, self.funnel)


class VDNLS3D(nn.Module, Restorer):
    """Restores the middle frame of a clip: removes its noise or its compression artifacts."""

    def __init__(self, config: VDNLS3DConfig = VDNLS3DConfig()) -> None:
        super().__init__()
        self.config, self.task = config, config.task
        planes = 3 * config.shuffle**2
        # Two further planes: the strength of the noise, and whether it is known. Deblocking does not use them, but has
        # them, so that its training can start from a denoiser's weights.
        self.trunk = LS3DTrunk(
            planes + 2,
            config.channels,
            config.blocks,
            config.ls3d_blocks,
            config.window,
            config.funnel,
            max_offset=config.max_offset,
        )
        self._source = motion_source(config.motion, FOR_ALIGNMENT)
        # applied to consecutive results by the caller, see Restorer; `forward` does not filter
        self.temporal_filter = TemporalFilter(self._source) if config.temporal_filter else None
        self.tail = nn.Conv2d(config.channels, planes, 3, padding=1)
        # the network starts as the identity
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    @property
    def window(self) -> int:
        """Frames in the input."""
        return self.config.window

    @property
    def size_multiple(self) -> int:
        """H and W must be multiples of this."""
        return self.config.shuffle

    @property
    def reach(self) -> int:
        """Pixels of context a result of `forward` depends on, on each side.

        Without `max_offset`, this holds only while all offsets are 0.
        """
        # distance from a pixel at one edge of its square of `shuffle` pixels to the far edge of the outermost square
        return self.config.shuffle * (self.trunk.reach + 2) - 1

    def prepare(self, clip: Tensor) -> Tensor:
        """Align the frames to the middle one, if the config says so. [N, 3, T, H, W] -> same shape."""
        return align_to_centre(clip, self._source) if self.config.align else clip

    def forward(self, clip: Tensor, sigma_8bit: float | Tensor | None = None) -> Tensor:
        """[N, 3, T, H, W], RGB in [0, 1], T = `window` -> [N, 3, H, W], the middle frame restored, not clamped.

        sigma_8bit  standard deviation of the noise in 8-bit levels, or one for each clip, [N], with NaN where it is not
                    known; None: not known

        Raises as `check_clip`.
        """
        check_clip(self, clip)
        return self.network(self.prepare(clip), sigma_8bit)

    def network(self, prepared: Tensor, sigma_8bit: float | Tensor | None = None) -> Tensor:
        """See `Restorer.network`."""
        x = unshuffle(prepared, self.config.shuffle) - 0.5
        strength = strength_planes(sigma_8bit, prepared)[:, :, None, None, None].expand(-1, -1, *x.shape[2:])
        residual = self.tail(self.trunk(torch.cat([x, strength], dim=1)))
        return prepared[:, :, self.window // 2] + F.pixel_shuffle(residual, self.config.shuffle)
