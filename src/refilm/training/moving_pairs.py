"""Pairs of frames with known motion, for training optical flow: real ones that DIS explains, moved and covered.

DIS estimates the flow between whole frames, in both directions. A crop of a pair is then cut out at different places,
angles and sizes in the two frames, which adds a motion that is known exactly, however large it is; and cut-outs of
other films fly across it, as in the data set of Dosovitskiy et al., "FlowNet", ICCV 2015, arXiv 1504.06852.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.data import Pack
from refilm.data.crops import Draws
from refilm.data.draws import below, between, chance, log_between
from refilm.layers.optical_flow import DIS, SMALLEST_SIDE, consistent, luma
from refilm.layers.sampling import pixel_grid, sample
from refilm.training.config import FlowConfig

# It is estimated down to frames of half the size, at which it is also kept.
TEACHER = DIS(refinement=5, finest_scale=1)


class Pairs(NamedTuple):
    """A batch of pairs of crops.

    luma    [2, N, 1, S, S]   of the first frames and the second ones, in [0, 1]
    flows   [2, N, 2, S, S]   from first to second and from second to first, (dx, dy) in pixels
    known   [2, N, 1, S, S]   1 where the flow is to be trusted, else 0
    """

    luma: Tensor
    flows: Tensor
    known: Tensor


class _Taught(NamedTuple):
    """Two frames and what DIS says about them: luma [2, 1, H, W], flows [2, 2, h, w], trusted [2, 1, h, w]."""

    luma: Tensor
    flows: Tensor
    trusted: Tensor


class PairSampler:
    """Draws batches of pairs, which depend on the seed and the step only. DIS is run once for each pair of frames."""

    def __init__(self, pack: Pack, config: FlowConfig) -> None:
        self._config = config
        self._draws = Draws(pack, config.batch, config.seed)
        self._luma = [luma(clip.float() / 255) for clip in pack.frames]  # [T, H, W] each
        self._taught: dict[tuple[int, int, int], _Taught] = {}

    def draw(self, step: int) -> Pairs:
        """The batch of one step. Raises ValueError if no clip has two frames on which DIS can be run."""
        random = self._draws.generator(step)
        gap = self._config.gaps[below(len(self._config.gaps), random)]
        clips = self._draws.clips(random, SMALLEST_SIDE, gap + 1)
        pairs = [self._crop(clip, gap, random) for clip in clips]
        if len(pairs) > 1:
            textures = [pairs[place - 1].luma[0] for place in range(len(pairs))]
            pairs = [self._crossed(pair, texture, random) for pair, texture in zip(pairs, textures, strict=True)]
        frames, flows, known = (torch.stack(parts, dim=1) for parts in zip(*pairs, strict=True))
        return Pairs(_exposed(frames, random), flows, known)

    def _pair(self, clip: int, first: int, gap: int) -> _Taught:
        key = clip, first, gap
        if key not in self._taught:
            frames = self._luma[clip][first : first + gap + 1 : gap]
            flows = TEACHER.both_ways(frames[:1], frames[1:])[:, 0]
            trusted = _halved(consistent(flows))
            self._taught[key] = _Taught(frames[:, None], _halved(flows).half(), trusted.mul(255).byte())
        frames, flows, trusted = self._taught[key]
        return _Taught(frames.float() / 255, flows.float(), trusted.float() / 255)

    def _crop(self, clip: int, gap: int, random: torch.Generator) -> Pairs:
        """A random crop of a random pair of a clip, without the dimension N."""
        config, frames = self._config, self._luma[clip]
        pair = self._pair(clip, below(len(frames) - gap, random), gap)
        height, width = frames.shape[1:]
        zoom = log_between(random, *config.zoom)
        turn = between(random, -config.turn, config.turn)
        centre = torch.tensor([_inside(side, config.crop / zoom, random) for side in (width, height)])
        mirror = 1 - 2 * below(2, random)
        first = _map(zoom, turn, mirror)
        second, shift = first, torch.zeros(2)
        if chance(random, config.shifted):
            shift = _vector(0, config.shift, random) / zoom
            second = _map(zoom * math.exp(between(random, -0.1, 0.1)), turn + between(random, -5, 5), mirror)
        maps, centres = torch.stack((first, second)), torch.stack((centre, centre + shift))
        grid = pixel_grid(config.crop, config.crop, frames.device) - (config.crop - 1) / 2
        places = torch.einsum("kij,zjhw->kihw", maps, grid) + centres.view(2, 2, 1, 1)
        at_half = (places + 0.5) / 2 - 0.5
        # where the content goes in the other frame, then where that is in the other crop
        there = places + sample(pair.flows, at_half)
        there = torch.einsum("kij,kjhw->kihw", maps.flip(0).inverse(), there - centres.flip(0).view(2, 2, 1, 1))
        last = torch.tensor([width - 1.0, height - 1.0]).view(1, 2, 1, 1)
        seen = ((places >= 0) & (places <= last)).all(1, keepdim=True)
        known = seen & (sample(pair.trusted, at_half) > 0.99)
        return Pairs(sample(pair.luma, places), there - grid, known.float())

    def _crossed(self, pair: Pairs, texture: Tensor, random: torch.Generator) -> Pairs:
        """A pair over which a cut-out of `texture` [1, S, S] flies, with the chance that the config gives."""
        config = self._config
        if not chance(random, config.crossed):
            return pair
        shape = _blob(config.crop, random)
        way = _vector(0, config.shift, random).view(1, 2, 1, 1)
        grid = pixel_grid(config.crop, config.crop, texture.device)
        ways = torch.cat((torch.zeros_like(way), way))
        cut_out = sample(torch.cat((shape, texture[None])).transpose(0, 1).expand(2, -1, -1, -1), grid - ways)
        inside = ((grid - ways >= 0) & (grid - ways <= config.crop - 1)).all(1, keepdim=True)
        covers = cut_out[:, :1] * inside  # [2, 1, S, S]
        on_it = covers > 0.5
        return Pairs(
            torch.lerp(pair.luma, cut_out[:, 1:], covers),
            torch.where(on_it, torch.cat((way, -way)), pair.flows),
            torch.where(on_it, 1.0, pair.known),
        )


def _halved(planes: Tensor) -> Tensor:
    return F.interpolate(planes, scale_factor=0.5, mode="bilinear")


def _exposed(frames: Tensor, random: torch.Generator) -> Tensor:
    """Crops with other contrast, brightness and gamma, slightly different in the second frame, and noise."""
    count = frames.shape[1]

    def drawn(spread: float, between: float) -> Tensor:
        common = spread * torch.randn(1, count, generator=random)
        return (common + between * torch.randn(2, count, generator=random)).view(2, count, 1, 1, 1)

    exposed = frames.clamp(1e-3, 1) ** drawn(0.2, 0.02).exp() * drawn(0.2, 0.02).exp() + drawn(0.05, 0.01)
    noise = 0.02 * torch.rand(1, count, 1, 1, 1, generator=random) ** 2
    return (exposed + noise * torch.randn(frames.shape, generator=random)).clamp(0, 1)


def _map(zoom: float, degrees: float, mirror: int) -> Tensor:
    """The linear map from a position in a crop to one in the frame, both relative to their centres. -> [2, 2]"""
    c, s = math.cos(math.radians(degrees)) / zoom, math.sin(math.radians(degrees)) / zoom
    return torch.tensor([[mirror * c, -s], [mirror * s, c]])


def _blob(size: int, random: torch.Generator) -> Tensor:
    """A shape with a wavy outline, 1 inside, soft over a pixel. -> [1, 1, size, size]"""
    centre = torch.tensor([between(random, 0, size) for _ in range(2)]).view(1, 2, 1, 1)
    x, y = (pixel_grid(size, size, centre.device) - centre).unbind(1)
    angle, radius = torch.atan2(y, x), torch.full_like(x, between(random, 0.08, 0.25) * size)
    for waves in (1, 2, 3, 5):
        phase, depth = between(random, 0, 2 * math.pi), between(random, 0, 0.4 / waves)
        radius = radius * (1 + depth * torch.cos(waves * angle + phase))
    return (radius - torch.hypot(x, y) + 0.5).clamp(0, 1)[None]


def _vector(least: float, most: float, random: torch.Generator) -> Tensor:
    """A vector of uniform direction and length. -> [2]"""
    angle, length = between(random, 0, 2 * math.pi), between(random, least, most)
    return length * torch.tensor([math.cos(angle), math.sin(angle)])


def _inside(side: int, window: float, random: torch.Generator) -> float:
    """The centre of a window that lies inside `side` pixels if it fits, along one axis."""
    half = min(window, side) / 2
    return between(random, half - 0.5, side - half - 0.5)
