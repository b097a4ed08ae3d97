"""Flow projection in plain torch: the definition that the kernels are tested against."""

from itertools import product

import torch
from torch import Tensor


def flow_projection(flow: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`refilm.ops.flow_projection` of checked inputs with a weight for each pixel; returns the sums of weights, too.

    They are 0 at holes.
    """
    n, _, height, width = flow.shape
    u = torch.arange(width, device=flow.device) + flow[:, 0]  # [N, H, W]
    v = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    lands = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    left = torch.where(lands, u, 0).detach().floor().long()
    top = torch.where(lands, v, 0).detach().floor().long()
    thrown = torch.cat([-flow * weight, weight], dim=1).transpose(0, 1)  # [3, N, H, W]
    first = torch.arange(3 * n, device=flow.device).view(3, n, 1, 1) * (
        height * width
    )  # number of each map's first pixel
    # index_add of a flat tensor adds in the order of the index on a CPU; index_put adds with atomics, in any order
    landed = thrown.new_zeros(thrown.numel())
    for down, right in product((0, 1), (0, 1)):
        y, x = top + down, left + right
        inside = lands & (y < height) & (x < width)
        place = first + torch.where(inside, y * width + x, 0)
        landed = landed.index_add(0, place.flatten(), torch.where(inside, thrown, 0).flatten())
    total, weights = landed.view(thrown.shape).transpose(0, 1).split((2, 1), dim=1)
    filled = weights > 0
    mean = total / torch.where(filled, weights, 1)
    holes = nearest_mean(mean.detach(), filled)
    return torch.where(filled, mean, holes).to(flow.dtype), weights.to(flow.dtype)


def nearest_mean(value: Tensor, filled: Tensor) -> Tensor:
    """The mean of the nearest filled pixels to the left, to the right, above and below each pixel; zero without any."""
    total, count = torch.zeros_like(value), torch.zeros_like(filled, dtype=value.dtype)
    for dim, backwards in product((2, 3), (False, True)):
        v, f = (value.flip(dim), filled.flip(dim)) if backwards else (value, filled)
        shape = [1, 1, 1, 1]
        shape[dim] = -1
        place = torch.arange(v.shape[dim], device=v.device).view(shape)
        nearest = torch.where(f, place, -1).cummax(dim).values
        found = nearest >= 0
        picked = torch.where(found, v.gather(dim, nearest.clamp(min=0).expand(v.shape)), 0)
        total += picked.flip(dim) if backwards else picked
        count += found.flip(dim) if backwards else found
    return total / count.clamp(min=1)
