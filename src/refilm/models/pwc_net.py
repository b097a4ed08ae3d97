"""PWC-Net, small: optical flow by a pyramid of features, warping and a cost volume.

Source   Sun et al., "PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume", CVPR 2018, arXiv
         1709.02371. One decoder for all levels: Hur and Roth, "Iterative Residual Refinement for Joint Optical Flow and
         Occlusion Estimation", CVPR 2019, arXiv 1904.05290. One feature extractor for all levels, which sees the frame
         at the size of each: Reda et al., "FILM: Frame Interpolation for Large Motion", ECCV 2022, arXiv 2202.04901,
         3.1. Enlargement of the finest flow by learned convex combinations: Teed and Deng, "RAFT", ECCV 2020, arXiv
         2003.12039, 3.3.
Departs  in size (0.2 M parameters instead of 8.8 M): luma instead of RGB, a narrow decoder without dense connections,
         and no context network. The extractor sees contrast instead of brightness, in squares of 4x4 pixels that
         become channels. The cost volume compares features of unit length.

It is no model of a task, but a source of motion for models that use motion (`refilm.models.motion`). It has learned
from DIS, and from how well it warps one frame to the other: docs/choices.md#learned-motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.sampling import box_mean
from refilm.ops import backward_warp, correlation

FINEST = 2  # the finest level on which flow is estimated: frames halved this many times
AROUND = 9  # side, in pixels, of the square around a pixel that its contrast refers to
LEAST_CONTRAST = 0.02  # contrast below which nothing is made of it
FAINT = 0.05  # length that features of unit length are told from nothing by


@dataclass(frozen=True)
class PWCNetConfig:
    """Defaults: a network for two cores.

    levels    on which flow is estimated: frames halved FINEST times, FINEST + 1 times ... All share their weights
    features  widths of the layers that see the frames; the last is that of the features
    radius    largest displacement in the cost volume, in pixels of a level
    decoder   widths of the decoder's hidden layers

    Raises ValueError unless there is a level.
    """

    levels: int = 4
    features: tuple[int, ...] = (64, 64, 32)
    radius: int = 4
    decoder: tuple[int, ...] = (64, 64, 48, 32)

    def __post_init__(self) -> None:
        for name in ("features", "decoder"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON and TOML give lists
        if self.levels < 1:
            raise ValueError(f"levels must be at least 1, got {self.levels}")


class PWCNet(nn.Module):
    """Estimates the motion between frames from their luma."""

    def __init__(self, config: PWCNetConfig = PWCNetConfig()) -> None:
        super().__init__()
        self.config = config
        widths = (4**FINEST, *config.features[:-1])
        self.see = nn.Sequential(
            *(_convolution(before, after) for before, after in pairwise(widths)),
            nn.Conv2d(widths[-1], config.features[-1], 1),
        )
        costs = (2 * config.radius + 1) ** 2
        widths = (costs + config.features[-1] + 2, *config.decoder)
        self.decoder = nn.Sequential(*(_convolution(before, after) for before, after in pairwise(widths)))
        self.flow = nn.Conv2d(config.decoder[-1], 2, 3, padding=1)
        # for each of the pixels that a pixel of the finest level is enlarged to, the shares of its 3x3 neighbours
        self.shares = nn.Conv2d(config.decoder[-1], 9 * 4**FINEST, 1)
        for last in (self.flow, self.shares):  # no motion, and an even enlargement, at first
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    @property
    def size_multiple(self) -> int:
        """Frames are padded to multiples of this, by repeating their border."""
        return int(2 ** (FINEST + self.config.levels - 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The flow from each first frame to the second.

        first, second  [N, 1, H, W]   luma in [0, 1]
        out            [N, 2, H, W]   (dx, dy) in pixels
        """
        return self.levels(self.features(first), self.features(second))[-1][..., : first.shape[2], : first.shape[3]]

    def both_ways(self, first: Tensor, second: Tensor) -> Tensor:
        """The flow from first to second, and from second to first, in one pass. -> [2, N, 2, H, W]"""
        height, width = first.shape[2:]
        return self.levels_both_ways(first, second)[-1][..., :height, :width]

    def levels_both_ways(self, first: Tensor, second: Tensor, starts: Sequence[Tensor] = ()) -> list[Tensor]:
        """As `levels`, from first to second and from second to first. -> [2, N, 2, h, w] each; so are `starts`"""
        ahead = self.features(torch.cat((first, second)))
        back = [level.roll(len(first), 0) for level in ahead]
        flows = self.levels(ahead, back, [start.flatten(0, 1) for start in starts])
        return [flow.unflatten(0, (2, len(first))) for flow in flows]

    def features(self, luma: Tensor) -> list[Tensor]:
        """Features on each level from the coarsest to the finest. [N, 1, H, W] -> [N, C, h, w] each

        They have unit length, or less where there is nothing to be seen.
        """
        height, width = luma.shape[2:]
        multiple = self.size_multiple
        x = F.pad(luma, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        levels = []
        for _ in range(self.config.levels):
            seen = self.see(F.pixel_unshuffle(contrast(x), 2**FINEST))
            levels.append(seen / (seen.square().sum(1, keepdim=True) + FAINT**2).sqrt())
            x = F.avg_pool2d(x, 2)
        return levels[::-1]

    def levels(self, own: list[Tensor], other: list[Tensor], starts: Sequence[Tensor] = ()) -> list[Tensor]:
        """The flow on each level, then enlarged to full size. -> [N, 2, h, w] each, in pixels of the full size

        own, other   `features` of the frames where the flow begins, and of those where it ends
        starts       the flow from which each level starts, in pixels of the level, instead of that of the level before
        """
        flow = own[0].new_zeros(len(own[0]), 2, *own[0].shape[2:])  # in pixels of the level
        found = []
        factor = self.size_multiple
        for level, (here, there) in enumerate(zip(own, other, strict=True)):
            if level:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear")
                factor //= 2
            if starts:
                flow = starts[level]
            # the mean over channels of unit vectors' products, times their number, is the cosine between them
            costs = here.shape[1] * correlation(here, backward_warp(there, flow), self.config.radius)
            x = self.decoder(torch.cat((costs, here, flow / self.config.radius), dim=1))
            flow = flow + self.flow(x)
            found.append(factor * flow)
        return [*found, enlarged(found[-1], self.shares(x))]


def contrast(luma: Tensor) -> Tensor:
    """How much brighter each pixel is than those around it, relative to their contrast. [N, 1, H, W] -> same shape"""
    over = luma - box_mean(luma, AROUND)
    return over / (box_mean(over.square(), AROUND) + LEAST_CONTRAST**2).sqrt()


def enlarged(flow: Tensor, shares: Tensor) -> Tensor:
    """Enlarge a flow; each new pixel is a convex combination of the 3x3 pixels around it (RAFT 3.3).

    flow     [N, 2, h, w]
    shares   [N, 9 * s^2, h, w]   before the softmax over the nine
    out      [N, 2, sh, sw]
    """
    n, _, h, w = flow.shape
    weights = shares.view(n, 1, 9, -1, h, w).softmax(2)
    around = F.unfold(F.pad(flow, (1,) * 4, mode="replicate"), 3).view(n, 2, 9, 1, h, w)
    planes = (weights * around).sum(2).flatten(1, 2)  # [N, 2 * s^2, h, w]
    return F.pixel_shuffle(planes, 2**FINEST)


def _convolution(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.LeakyReLU(0.1))
