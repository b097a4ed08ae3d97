"""Flow projection in plain torch."""

from itertools import product

import torch
from torch import Tensor


def flow_projection(flow: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """As `refilm.ops.flow_projection`, with a weight for each pixel."""
    n, _, height, width = flow.shape
    u = torch.arange(width, device=flow.device) + flow[:, 0]  # [N, H, W]
    v = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    lands = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    left = torch.where(lands, u, 0).detach().floor().long()
    top = torch.where(lands, v, 0).detach().floor().long()
    batch = torch.arange(n, device=flow.device).view(-1, 1, 1).expand(left.shape)
    thrown = torch.cat([-flow * weight, weight], dim=1).permute(0, 2, 3, 1)  # [N, H, W, 3]
    # index_put adds in the order of the pixels on a CPU and sorts them on a GPU: no sum depends on the threads
    landed = torch.zeros_like(thrown, memory_format=torch.contiguous_format)
    for down, right in product((0, 1), (0, 1)):
        y, x = top + down, left + right
        inside = lands & (y < height) & (x < width)
        landed = landed.index_put((batch[inside], y[inside], x[inside]), thrown[inside], accumulate=True)
    total, weights = landed.permute(0, 3, 1, 2).split((2, 1), dim=1)
    filled = weights > 0
    mean = total / torch.where(filled, weights, 1)
    holes = nearest_mean(mean.detach(), filled)
    return torch.where(filled, mean, holes), filled


def nearest_mean(value: Tensor, filled: Tensor) -> Tensor:
    """For each pixel the mean of the nearest filled ones to its left, right, top and bottom; zero if there are none."""
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
