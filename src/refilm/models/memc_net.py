"""MEMC-Net: interpolation by motion estimation and motion compensation in one network.

Source   Bao et al., "MEMC-Net: Motion Estimation and Motion Compensation Driven Neural Network for Video Interpolation
         and Enhancement", IEEE TPAMI 2019, arXiv 1810.08768, and the published code for the sizes of its layers.

    frames -> motion, projected to the time t -> flows -+
        \\---> kernels ---------------------------------+-> adaptive warping of frames and of their context
        \\---> masks -----------------------------------+-> blend -> + post-processing

What the published code calls MEMC-Net* is the default here; MEMC-Net itself has no context and a smaller network for
post-processing. `masks=False` blends by 1 - t and t alone, as the smallest published form does.

Departs  `projected_flow.py` says what takes the place of FlowNetS, and that an untrained network is the classical
         result. Further:
         - any time t: the paper's is 1/2. The motion is scaled by t and 1 - t before it is projected.
         - kernels are the learned part plus the kernel of bilinear sampling, so that there is something to start from.
           Masks multiply the weights 1 - t and t, whose sum is then made 1; the published code adds 1/2 to each mask.
         - the context, in the paper the first convolution of a ResNet-18 trained for recognition, is a convolution of
           the same size that is trained with the rest, since those weights are not to be had here.
         - no batch normalisation. The published MEMC-Net has it, MEMC-Net* has not.
         - post-processing of MEMC-Net is residual like that of MEMC-Net*, where the published one is seven plain
           convolutions.
         - `shuffle`, `aligned` and `plain` are for the small model: networks at half the size, which see the frames as
           they lie in the new frame, since a small network cannot find a motion by itself that flow has found already;
           and flow-blend's frame as a third picture in the blend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.residual import BRANCH_AT_START, ResBlock
from refilm.layers.unet import UNetOfPair, at_zero, he_start
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

STRONGEST = 6.0  # masks multiply weights by at most exp(+-STRONGEST)
OF_PLAIN = 8.0  # weight of flow-blend's frame, where those of the two warped frames are 1 - t and t before masks


@dataclass(frozen=True)
class MEMCNetConfig:
    """Defaults: the published MEMC-Net*.

    kernel        side R of the kernels of adaptive warping, even
    stem          width of the first convolution of the networks for kernels and masks
    widths        widths of their levels, from the finest to the coarsest; each halves height and width
    features      width of their output
    masks         whether masks are estimated; False: frames are averaged by time alone
    context       channels of the context; 0: none
    context_side  side of the convolution that extracts it
    channels      width of post-processing
    blocks        residual blocks of post-processing
    correction    width of the network that corrects the flow
    shuffle       networks see squares of this side, in pixels, as channels
    aligned       whether kernels and masks are estimated from the frames sampled along the flow, anew for each time;
                  False: from the frames themselves, as in the paper
    plain         whether flow-blend's frame is blended with the two warped frames, so that an untrained network is
                  nearly flow-blend; the networks see how they differ from it. Only with masks and `aligned`
    finest_scale  see `FlowBlendConfig`
    motion        where the motion comes from, see `refilm.models.motion`

    Raises ValueError for an odd kernel, for sizes below 1, and for `plain` without masks and `aligned`.
    """

    kernel: int = 4
    stem: int = 32
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    features: int = 16
    masks: bool = True
    context: int = 64
    context_side: int = 7
    channels: int = 128
    blocks: int = 10
    correction: int = 32
    shuffle: int = 1
    aligned: bool = False
    plain: bool = False
    finest_scale: int = 1
    motion: str = "dis"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # a list in TOML and JSON
        if self.kernel < 2 or self.kernel % 2:
            raise ValueError(f"kernel must be even, at least 2, got {self.kernel}")
        if not self.widths or min(self.stem, *self.widths, self.features, self.channels, self.shuffle) < 1:
            raise ValueError("widths must name a level, and stem, widths, features, channels and shuffle be at least 1")
        if self.plain and not (self.masks and self.aligned):
            raise ValueError("plain needs masks and aligned")


class MEMCNet(ProjectedFlow):
    """Frames at any times between two frames."""

    def __init__(self, config: MEMCNetConfig = MEMCNetConfig()) -> None:
        motion = FlowBlendConfig(finest_scale=config.finest_scale, motion=config.motion)
        super().__init__(config.shuffle, motion, config.correction)
        self.config = config
        square = config.shuffle**2
        # two frames; aligned, also what `lying` adds
        planes = (2 * 3 + 4 * config.aligned + OF_DIFFERENCES * config.plain) * square
        estimation = partial(UNetOfPair, planes, config.stem, config.widths, config.features, 2)
        self.kernels = estimation(config.kernel**2)
        self.masks = estimation(1) if config.masks else None
        self.context: nn.Module | None = None
        if config.context:
            side = config.context_side
            self.context = nn.Conv2d(3 * square, config.context, side, padding=side // 2, bias=False)
            he_start(self.context)
        # blend, differences from it, flows, kernels, masks, contexts
        planes = (
            (3 + 2 * 3 * config.plain) * square + 2 * 2 + 2 * config.kernel**2 + 2 * config.masks + 2 * config.context
        )
        self.post = PostProcessing(planes, config.channels, config.blocks, 3 * square)

    def steps(self, frames: Tensor, motion: Tensor, times: Sequence[Fraction]) -> Iterator[Steps]:
        """See `ProjectedFlow.steps`."""
        corrected, _ = self.corrected(frames, motion)
        context = None if self.context is None else self.context(self.shuffled(frames.flatten(0, 1) - 0.5))
        kernels: Tensor | None = None
        masks: Tensor | None = None
        if not self.config.aligned:  # the same at all times
            kernels, masks = self._estimated(self.shuffled(torch.cat(list(frames), dim=1) - 0.5))
        for time in map(float, times):
            flow, filled = projected(corrected, time)
            plain = self.flow_blend.blended(frames, motion, time) if self.config.plain else None
            if self.config.aligned:
                kernels, masks = self._estimated(self.shuffled(lying(frames, flow, filled, plain)))
            assert kernels is not None
            large = self.enlarged(kernels)
            warped = apart(adaptive_warp(frames.flatten(0, 1), flow, large))
            weights = weights_in_time(time, frames).expand(2, frames.shape[1], 1, *frames.shape[3:])
            if masks is not None:
                votes = weights * apart(self.enlarged(masks)).exp()
                weights = votes / (votes.sum(0) + OF_PLAIN * self.config.plain)
            blend = (weights * warped).sum(0)
            if plain is not None:
                blend = blend + (1 - weights.sum(0)) * plain
            known = [self.shuffled(blend) - 0.5, *pair(self.reduced(flow) / FLOW_UNIT), *pair(kernels)]
            known += [self.shuffled(CLEARER * (frame - blend)) for frame in warped] if plain is not None else []
            known += [] if masks is None else pair(masks)
            known += [] if context is None else pair(self.warped_context(context, flow, kernels))
            said = self.post(torch.cat(known, dim=1)).float()
            frame = blend + OF_COLOUR * F.pixel_shuffle(said, self.shuffle)
            yield Steps(frame, blend, apart(flow), apart(filled), warped, apart(large), weights)

    def _estimated(self, seen: Tensor) -> tuple[Tensor, Tensor | None]:
        """Kernels, [2N, R*R, h, w], and the logarithms of what multiplies the weights, [2N, 1, h, w], or None."""
        kernels = bilinear_kernel(self.config.kernel, seen) + OF_KERNELS * self.kernels(seen)
        masks = None if self.masks is None else self.masks(seen).clamp(-STRONGEST, STRONGEST)
        return kernels, masks


class PostProcessing(nn.Module):
    """Convolution, residual blocks and two convolutions: colours to add. [N, planes, h, w] -> [N, out, h, w]"""

    def __init__(self, planes: int, channels: int, blocks: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(planes, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResBlock(channels) for _ in range(blocks)))
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        self.tail = at_zero(nn.Conv2d(channels, out, 3, padding=1))
        he_start(self)
        for block in self.blocks:
            assert isinstance(block, ResBlock)
            with torch.no_grad():
                block.conv2.weight.mul_(BRANCH_AT_START)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tail(self.last(self.blocks(self.first(x))))
        return out
