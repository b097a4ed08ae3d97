"""DAIN: interpolation along a flow that depth projects, so that near things cover far ones.

Source   Bao et al., "Depth-Aware Video Frame Interpolation", CVPR 2019, arXiv 1904.00830, and the published code for
         the sizes of its layers.

    frames -> flow, projected to the time t by depth -> flows -+
        \\---> kernels ----------------------------------------+-> adaptive warping of frames, depths and context
        \\---> depth, context ---------------------------------+-> blend by 1 - t and t -> + synthesis

Departs  `projected_flow.py` says what takes the place of PWC-Net, and that an untrained network is the classical
         result. Further:
         - there is no depth data and no trained hourglass. The depth is that of a small U-Net, learned through the
           interpolation loss alone, by what it does in the projection: where pixels of different motion meet, those
           that should have won become nearer. It is an order of near and far among such pixels and has no unit;
           elsewhere it is free. As motion tells what hides what, the U-Net sees the flow and how well the frames agree
           along it, where the paper's sees one frame. Before training all depths are 1: MEMC-Net's projection.
         - the colours do not train the depth through synthesis, as in the published code, so that it stays an order.
         - kernels are the learned part plus the kernel of bilinear sampling.
         - `shuffle`, `aligned` and `plain` are for the small model, see `memc_net.py`. As there are no masks, synthesis
           says how far to go from flow-blend's frame to the blend.

The paper's 24.0 M parameters are those of PWC-Net (9.37 M), of the hourglass (5.36 M), and 9,300,163 of what is here as
published: kernels (5,514,112), context (156,864) and synthesis (3,629,187).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.unet import UNet, UNetOfPair, at_zero, he_start, head
from refilm.models.flow_blend import FlowBlendConfig
from refilm.models.projected_flow import (
    CLEARER,
    FLOW_UNIT,
    OF_COLOUR,
    OF_DIFFERENCES,
    OF_KERNELS,
    ProjectedFlow,
    Steps,
    apart,
    bilinear_kernel,
    lying,
    pair,
    projected,
    weights_in_time,
)
from refilm.ops import adaptive_warp

DILATIONS = 4, 8  # of the first convolution in each residual block of the context
OWN = -2.0  # the untrained logit of the share of the blend, beside flow-blend's frame
FARTHEST = 4.0  # depths lie between exp(-FARTHEST) and exp(FARTHEST)


@dataclass(frozen=True)
class DAINConfig:
    """Defaults: the published network, but for flow and depth.

    kernel        side R of the kernels of adaptive warping, even
    stem          width of the first convolution and of the output of the networks for kernels and depth
    widths        widths of the levels of the network for kernels, from the finest to the coarsest; each halves height
                  and width
    depth_widths  widths of the levels of the network for depth; (): all depths are 1, the projection of MEMC-Net
    context       width of the context; 0: none
    channels      width of synthesis
    blocks        residual blocks of synthesis
    side          side of the first convolution of context and synthesis
    correction    width of the network that corrects the flow
    shuffle       networks see squares of this side, in pixels, as channels
    aligned       whether kernels are estimated from the frames sampled along the flow, anew for each time; False: from
                  the frames themselves, as in the paper
    plain         whether the blend is mixed with flow-blend's frame, so that an untrained network is nearly flow-blend;
                  the networks see how they differ. Only with `aligned`
    finest_scale  see `FlowBlendConfig`
    motion        where the motion comes from, see `refilm.models.motion`

    Raises ValueError for an odd kernel and for sizes below 1, and for `plain` without `aligned`.
    """

    kernel: int = 4
    stem: int = 16
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    depth_widths: tuple[int, ...] = (32, 64, 128)
    context: int = 64
    channels: int = 128
    blocks: int = 3
    side: int = 7
    correction: int = 32
    shuffle: int = 1
    aligned: bool = False
    plain: bool = False
    finest_scale: int = 1
    motion: str = "dis"

    def __post_init__(self) -> None:
        for name in ("widths", "depth_widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # lists in TOML and JSON
        if self.kernel < 2 or self.kernel % 2:
            raise ValueError(f"kernel must be even, at least 2, got {self.kernel}")
        if not self.widths or min(self.stem, *self.widths, *self.depth_widths, self.channels, self.shuffle) < 1:
            raise ValueError("widths must name a level, and stem, widths, channels and shuffle be at least 1")
        if self.plain and not self.aligned:
            raise ValueError("plain needs aligned")


class DAIN(ProjectedFlow):
    """Frames at any times between two frames."""

    def __init__(self, config: DAINConfig = DAINConfig()) -> None:
        motion = FlowBlendConfig(finest_scale=config.finest_scale, motion=config.motion)
        super().__init__(config.shuffle, motion, config.correction)
        self.config = config
        square, taps = config.shuffle**2, config.kernel**2
        planes = (2 * 3 + 4 * config.aligned + OF_DIFFERENCES * config.plain) * square
        self.kernels = UNetOfPair(planes, config.stem, config.widths, config.stem, 1, taps)
        self.depth = Depth(8 * square, config) if config.depth_widths else None
        self.context = Context(3 * square, config) if config.context else None
        context = 0 if self.context is None else self.context.out
        # blend and warped frames, the plain one, depths, flows, kernels, contexts
        planes = 3 * (3 + config.plain) * square + 2 * bool(config.depth_widths) + 2 * 2 + 2 * taps + 2 * context
        self.synthesis = Synthesis(planes, config, (3 + config.plain) * square)

    def steps(self, frames: Tensor, motion: Tensor, times: Sequence[Fraction]) -> Iterator[Steps]:
        """See `ProjectedFlow.steps`."""
        corrected, planes = self.corrected(frames, motion)
        log_depth = None if self.depth is None else self.depth(self.shuffled(planes))
        nearness = None if log_depth is None else apart(self.enlarged(-log_depth).exp())
        context = self._context(frames, log_depth)
        kernels = None if self.config.aligned else self._kernels(self.shuffled(torch.cat(list(frames), dim=1) - 0.5))
        for time in map(float, times):
            flow, filled = projected(corrected, time, nearness)
            plain = self.flow_blend.blended(frames, motion, time) if self.config.plain else None
            if self.config.aligned:
                kernels = self._kernels(self.shuffled(lying(frames, flow, filled, plain)))
            assert kernels is not None
            large = self.enlarged(kernels)
            warped = adaptive_warp(frames.flatten(0, 1), flow, large)
            weights = weights_in_time(time, frames)
            blend = (weights * apart(warped)).sum(0)
            known = [self.shuffled(shown) - 0.5 for shown in (blend, *pair(warped))]
            known += [self.shuffled(CLEARER * (blend - plain))] if plain is not None else []
            known += [*pair(self.reduced(flow) / FLOW_UNIT), *pair(kernels)]
            if context is not None:
                known += pair(self.warped_context(context, flow, kernels))
            said = F.pixel_shuffle(self.synthesis(torch.cat(known, dim=1)).float(), self.shuffle)
            weights = weights.expand(2, frames.shape[1], 1, *frames.shape[3:])
            if plain is not None:
                share = (OWN + said[:, 3:]).sigmoid()
                blend, weights = torch.lerp(plain, blend, share), weights * share
            frame = blend + OF_COLOUR * said[:, :3]
            depth = None if log_depth is None else apart(self.enlarged(log_depth))
            yield Steps(frame, blend, apart(flow), apart(filled), apart(warped), apart(large), weights, depth)

    def _kernels(self, seen: Tensor) -> Tensor:
        return bilinear_kernel(self.config.kernel, seen) + OF_KERNELS * self.kernels(seen)

    def _context(self, frames: Tensor, log_depth: Tensor | None) -> Tensor | None:
        """Depths and context, which are warped alike. -> [2N, C, h, w]"""
        parts = [] if log_depth is None else [log_depth.detach()]
        if self.context is not None:
            parts.append(self.context(self.shuffled(frames.flatten(0, 1) - 0.5)).float())
        return torch.cat(parts, dim=1) if parts else None


class Depth(nn.Module):
    """The logarithm of the depth of a frame, from the planes of `compared`. [2N, planes, h, w] -> [2N, 1, h, w]"""

    def __init__(self, planes: int, config: DAINConfig) -> None:
        super().__init__()
        self.body = UNet(planes, config.stem, config.depth_widths, config.stem, convs=1)
        self.head = head(config.stem, 1)
        he_start(self)

    def forward(self, x: Tensor) -> Tensor:
        return FARTHEST * torch.tanh(self.head(self.body(x)).float() / FARTHEST)


class Context(nn.Module):
    """The frame, a convolution and two residual blocks, all levels side by side. [N, planes, h, w] -> [N, out, h, w]"""

    def __init__(self, planes: int, config: DAINConfig) -> None:
        super().__init__()
        self.out = planes + (1 + len(DILATIONS)) * config.context
        self.first = nn.Conv2d(planes, config.context, config.side, padding=config.side // 2, bias=False)
        self.blocks = nn.ModuleList(Block(config.context, dilation) for dilation in DILATIONS)
        he_start(self)

    def forward(self, x: Tensor) -> Tensor:
        levels = [x, F.relu(self.first(x))]
        for block in self.blocks:
            levels.append(block(levels[-1]))
        return torch.cat(levels, dim=1)


class Synthesis(nn.Module):
    """Convolution, residual blocks and a convolution: colours to add. [N, planes, h, w] -> [N, out, h, w]"""

    def __init__(self, planes: int, config: DAINConfig, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(planes, config.channels, config.side, padding=config.side // 2)
        self.blocks = nn.Sequential(*(Block(config.channels) for _ in range(config.blocks)))
        self.tail = at_zero(nn.Conv2d(config.channels, out, 3, padding=1))
        he_start(self)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tail(self.blocks(F.relu(self.first(x))))
        return out


class Block(nn.Module):
    """Convolution, ReLU, convolution, plus the input, ReLU; no biases. [N, C, h, w] -> same shape"""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))
