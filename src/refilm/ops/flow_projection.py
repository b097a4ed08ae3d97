"""Flow projection, the operator of MEMC-Net (plain mean) and DAIN (weighted by inverse depth)."""

from itertools import product

import torch
from torch import Tensor


def flow_projection(flow: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The flow from each pixel back to the origin of the pixels that `flow` moves there.

    A pixel that lands inside the frame contributes -flow to the four pixels around its landing position. The result at
    a pixel is the mean of the contributions to it, weighted by `weight`. A pixel without any, a hole, takes the mean
    of the nearest filled pixels to the left, to the right, above and below.

    flow    [N, 2, H, W]   (dx, dy) in pixels, scaled by the time: t * flow_0_to_1
    weight  [N, 1, H, W]   positive, such as 1 / depth, so that near objects dominate; None: all equal
    returns (flow_t_to_0 [N, 2, H, W], filled [N, 1, H, W] bool)
    Gradients run through the mean, but not through the landing positions, nor into holes. On a CPU with several
    threads, float32 results of large maps can differ in the last bits from run to run.
    Source: MEMC-Net, (5); DAIN, (4).
    """
    if flow.dim() != 4 or flow.shape[1] != 2:
        raise ValueError(f"flow must be [N, 2, H, W], got {list(flow.shape)}")
    expected = (flow.shape[0], 1, *flow.shape[2:])
    if weight is None:
        weight = torch.ones(expected, dtype=flow.dtype, device=flow.device)
    if tuple(weight.shape) != expected:
        raise ValueError(f"weight must be [N, 1, H, W] = {list(expected)} to match flow, got {list(weight.shape)}")
    return flow_projection_reference(flow, weight)


def flow_projection_reference(flow: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`flow_projection` of checked inputs with a weight for each pixel, in plain torch."""
    n, _, height, width = flow.shape
    u = torch.arange(width, device=flow.device) + flow[:, 0]  # [N, H, W]
    v = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    lands = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    left = torch.where(lands, u, 0).detach().floor().long()
    top = torch.where(lands, v, 0).detach().floor().long()
    batch = torch.arange(n, device=flow.device).view(-1, 1, 1).expand(left.shape)
    thrown = torch.cat([-flow * weight, weight], dim=1).permute(0, 2, 3, 1)  # [N, H, W, 3]
    # On a CPU, index_put adds large float32 tensors with atomics, so the order of the sums depends on the threads.
    landed = torch.zeros_like(thrown, memory_format=torch.contiguous_format)
    for down, right in product((0, 1), (0, 1)):
        y, x = top + down, left + right
        inside = lands & (y < height) & (x < width)
        landed = landed.index_put((batch[inside], y[inside], x[inside]), thrown[inside], accumulate=True)
    total, weights = landed.permute(0, 3, 1, 2).split((2, 1), dim=1)
    filled = weights > 0
    mean = total / torch.where(filled, weights, 1)
    holes = _nearest_mean(mean.detach(), filled)
    return torch.where(filled, mean, holes), filled


def _nearest_mean(value: Tensor, filled: Tensor) -> Tensor:
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
