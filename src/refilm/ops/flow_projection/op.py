"""Flow projection, the operator of MEMC-Net (plain mean) and DAIN (weighted by inverse depth)."""

import torch
from torch import Tensor

from refilm.ops.flow_projection import reference


def flow_projection(flow: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Carry each pixel along `flow`, and say for each place where things landed how far back they came from.

    A pixel that lands inside the frame gives -flow to the four pixels around where it lands; each takes the mean of
    what it is given, by `weight`. A hole takes the mean of the nearest filled pixels left, right, above and below.

    flow    [N, 2, H, W]   (dx, dy) in pixels, scaled by the time: t * flow_0_to_1
    weight  [N, 1, H, W]   positive, say 1 / depth, so that near things win; None: all alike
    returns (flow_t_to_0 [N, 2, H, W], filled [N, 1, H, W] bool)
    Gradients run through the mean; not through where things land, nor into holes. Results do not depend on threads.
    Source: MEMC-Net, (5); DAIN, (4).
    """
    if flow.dim() != 4 or flow.shape[1] != 2:
        raise ValueError(f"flow must be [N, 2, H, W], got {list(flow.shape)}")
    expected = (flow.shape[0], 1, *flow.shape[2:])
    if weight is None:
        weight = torch.ones(expected, dtype=flow.dtype, device=flow.device)
    if tuple(weight.shape) != expected:
        raise ValueError(f"weight must be [N, 1, H, W] = {list(expected)} to match flow, got {list(weight.shape)}")
    return reference.flow_projection(flow, weight)
