"""The operator `refilm::flow_projection`. It is defined by reference.py; kernels: cpu.cpp, triton_kernel.py."""

import torch
from torch import Tensor

from refilm.ops.flow_projection import reference, triton_kernel
from refilm.ops.registration import Operator


def flow_projection(flow: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The flow from each pixel back to the origin of the pixels that `flow` moves there.

    A pixel that lands inside the frame contributes -flow to the four pixels around its landing position. The result at
    a pixel is the mean of the contributions to it, weighted by `weight`. A pixel without any, a hole, takes the mean
    of the nearest filled pixels to the left, to the right, above and below.

    flow    [N, 2, H, W]   (dx, dy) in pixels, scaled by the time: t * flow_0_to_1
    weight  [N, 1, H, W]   positive, such as 1 / depth, so that near objects dominate; None: all equal
    returns (flow_t_to_0 [N, 2, H, W], filled [N, 1, H, W] bool)
    Gradients run through the mean, but not through the landing positions, nor into holes.
    Source: MEMC-Net, (5); DAIN, (4).
    """
    if flow.dim() != 4 or flow.shape[1] != 2:
        raise ValueError(f"flow must be [N, 2, H, W], got {list(flow.shape)}")
    expected = (flow.shape[0], 1, *flow.shape[2:])
    if weight is None:
        weight = torch.ones(expected, dtype=flow.dtype, device=flow.device)
    if tuple(weight.shape) != expected:
        raise ValueError(f"weight must be [N, 1, H, W] = {list(expected)} to match flow, got {list(weight.shape)}")
    out, weights = OPERATOR(flow, weight)
    return out, weights > 0


OPERATOR = Operator(
    "flow_projection",
    reference.flow_projection,
    lambda flow, weight: [flow.shape, weight.shape],
    backward_reads_results=True,
    triton=triton_kernel,
)
