"""The paths along which things move before and after an instant, and pictures sampled along them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from refilm.layers.sampling import pixel_grid, sample
from refilm.ops import flow_projection

DISAGREEMENT = 2.0  # pixels in an interval


class Paths(NamedTuple):
    """How what is seen in a pixel at an instant moves until then and from then on, evenly on either side.

    back, forth   [N, 2, H, W], (dx, dy) in pixels: where it was an interval between two frames earlier, and where it
                  will be an interval later
    trust         [N, 1, H, W], 1 where the motions there and back agree, 1/2 where they differ by DISAGREEMENT
    """

    back: Tensor
    forth: Tensor
    trust: Tensor

    def sampled(self, picture: Tensor, time: float) -> Tensor:
        """A picture sampled where what is seen in each pixel is at another time, which is given from the instant on.

        picture   [N, C, H, W]; beyond its border, the border is read
        time      in intervals
        out       [N, C, H, W]
        """
        if not time:
            return picture
        way = time * self.forth if time > 0 else -time * self.back
        height, width = picture.shape[2:]
        return sample(picture, pixel_grid(height, width, picture.device) + way)


@torch.no_grad()
def paths_at(flows: Sequence[Tensor], instant: Fraction) -> Paths:
    """The paths at the time of a frame, or half-way between two.

    flows     for each pair of neighbouring frames, [2, N, 2, H, W]: from the first to the second, and back, in pixels;
              all zero where a frame is repeated, as beyond the ends of a scene
    instant   counted in frames from the first. Where nothing moves on one side of a frame, or nothing is known there,
              the motion on the other side is continued
    """
    if instant.denominator == 2:
        flow, _ = flow_projection(flows[int(instant)].flatten(0, 1) / 2)
        back, forth = (2 * flow).chunk(2)
        return Paths(back, forth, _trust(back + forth))
    place = int(instant)
    before, after = ([pair for pair in flows[n : n + 1] if pair.any()] if n >= 0 else [] for n in (place - 1, place))
    sides = [pair.flip(0) for pair in before] + after  # away from the frame, and back to it
    trust = torch.ones_like(flows[0][0][:, :1])
    for away, home in sides:
        there = pixel_grid(away.shape[2], away.shape[3], away.device) + away
        trust = torch.minimum(trust, _trust(away + sample(home, there)))
    back = before[0][1] if before else -after[0][0] if after else torch.zeros_like(flows[0][0])
    forth = after[0][0] if after else -back
    return Paths(back, forth, trust)


def _trust(difference: Tensor) -> Tensor:
    return 1 / (1 + difference.square().sum(1, keepdim=True) / DISAGREEMENT**2)
