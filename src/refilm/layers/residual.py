"""Residual blocks with LS3D-Conv, and the trunk of VSR-LS3D, VDN-LS3D and vi-ls3d-flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.conv3d import Conv3d
from refilm.layers.ls3d import LS3DConv, SamplingConv

# Factor on the initial weights of each block's last convolution. A block then starts as a small correction of its
# input, and deep networks can be trained at a high learning rate from the first step.
BRANCH_AT_START = 0.2


class LS3DResBlock(nn.Module):
    """LS3D-Conv 3x3x3, ReLU, Conv3d 3x3x3, plus the input (LS3D-Conv, Fig. 2a). [N, C, T, H, W] -> same shape.

    With ls3d=False both convolutions are plain: the block of the paper's 3D-convolution baseline.
    """

    def __init__(self, channels: int, ls3d: bool, max_offset: float | None = None) -> None:
        super().__init__()
        self.conv1 = sampling_conv(channels, (3, 3, 3), (1, 1, 1), ls3d, max_offset)
        self.conv2 = Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class P3DResBlock(nn.Module):
    """PReLU, Conv3d 1x3x3, LS3D-Conv 3x1x1, plus the input. [N, C, T, H, W] -> same shape.

    The block of FSTRN (Li et al., "Fast Spatio-Temporal Residual Network for Video Super-Resolution", CVPR 2019) with
    its temporal convolution replaced by LS3D-Conv; with ls3d=False, FSTRN's own.
    """

    def __init__(self, channels: int, ls3d: bool, max_offset: float | None = None) -> None:
        super().__init__()
        self.activation = nn.PReLU()
        self.conv1 = Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1))
        self.conv2 = sampling_conv(channels, (3, 1, 1), (1, 0, 0), ls3d, max_offset)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(self.activation(x)))


class FunnelBlock(nn.Module):
    """LS3D-Conv Tx3x3 without padding in time, ReLU, Conv2d 3x3, plus the middle frame: T frames become one.

    [N, C, T, H, W] -> [N, C, H, W], T = `window`. Not in the paper, whose blocks keep all frames to the end: the layers
    that follow then cost 1/T of the time.
    """

    def __init__(self, channels: int, window: int, ls3d: bool, max_offset: float | None = None) -> None:
        super().__init__()
        self.conv1 = sampling_conv(channels, (window, 3, 3), (0, 1, 1), ls3d, max_offset)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fused = F.relu(self.conv1(x)).squeeze(2).contiguous(memory_format=torch.channels_last)
        return x[:, :, x.shape[2] // 2] + self.conv2(fused)


class ResBlock(nn.Module):
    """Conv2d 3x3, ReLU, Conv2d 3x3, plus the input. [N, C, H, W] -> same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class LS3DTrunk(nn.Module):
    """A convolution and residual blocks: a clip to features of its middle frame. [N, C', T, H, W] -> [N, C, H, W].

    in_channels  C'
    channels     C, the width of every layer
    blocks       number of residual blocks
    ls3d_blocks  which of them use LS3D-Conv, counted from 1
    window       T
    funnel       number of the block that merges the T frames into one (FunnelBlock); the blocks after it are 2D. None:
                 all blocks keep all frames, as in the paper, and the middle one is taken at the end
    p3d          whether the blocks before the funnel are P3DResBlock instead of LS3DResBlock
    max_offset   see LS3DConv
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        blocks: int,
        ls3d_blocks: Sequence[int],
        window: int,
        funnel: int | None,
        p3d: bool = False,
        max_offset: float | None = None,
    ) -> None:
        super().__init__()
        self.head = Conv3d(in_channels, channels, (1, 3, 3), padding=(0, 1, 1))
        kind = P3DResBlock if p3d else LS3DResBlock
        self.blocks = nn.ModuleList()
        for number in range(1, blocks + 1):
            ls3d = number in ls3d_blocks
            if funnel is not None and number > funnel:
                self.blocks.append(ResBlock(channels))
            elif number == funnel:
                self.blocks.append(FunnelBlock(channels, window, ls3d, max_offset))
            else:
                self.blocks.append(kind(channels, ls3d, max_offset))
        # radius of the receptive field, in positions: one for each convolution, and what the offsets add
        self.reach = 1 + 2 * blocks
        if max_offset is not None and ls3d_blocks:
            # + 1, because bilinear sampling between two pixels reads both
            self.reach += len(ls3d_blocks) * (int(-(-max_offset // 1)) + 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He initialisation; the last convolution of every block is multiplied by BRANCH_AT_START."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d) and not isinstance(module, SamplingConv):
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            assert isinstance(block.conv2, nn.Conv2d | nn.Conv3d)
            with torch.no_grad():
                block.conv2.weight.mul_(BRANCH_AT_START)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x.contiguous(memory_format=torch.channels_last_3d))
        for block in self.blocks:
            x = block(x)
        return x if x.ndim == 4 else x[:, :, x.shape[2] // 2]


def sampling_conv(
    channels: int, kernel: tuple[int, int, int], padding: tuple[int, int, int], ls3d: bool, max_offset: float | None
) -> Conv3d | LS3DConv:
    """LS3D-Conv if `ls3d`, else a plain convolution of the same kernel. [N, C, T, H, W] -> [N, C, T', H', W']."""
    if ls3d:
        return LS3DConv(channels, channels, kernel, padding=padding, max_offset=max_offset)
    return Conv3d(channels, channels, kernel, padding=padding)


def check_trunk(window: int, blocks: int, ls3d_blocks: tuple[int, ...], funnel: int | None) -> None:
    """Raises ValueError for a config that no LS3DTrunk can be built from."""
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be odd, so that there is a middle frame, got {window}")
    kept = blocks if funnel is None else funnel
    if funnel is not None and not 1 <= funnel <= blocks:
        raise ValueError(f"funnel must be one of the {blocks} blocks, got {funnel}")
    if not set(ls3d_blocks) <= set(range(1, kept + 1)):
        raise ValueError(
            f"ls3d_blocks must be within 1 ... {kept}, where there are frames to sample, got {ls3d_blocks}"
        )
