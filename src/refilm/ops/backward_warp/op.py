"""The operator `refilm::backward_warp`. It is defined by reference.py; kernels: cpu.cpp, triton_kernel.py."""

from torch import Tensor

from refilm.ops.backward_warp import reference, triton_kernel
from refilm.ops.registration import Operator


def backward_warp(frame: Tensor, flow: Tensor) -> Tensor:
    """Sample `frame` at the positions `flow` points to, bilinearly; zero outside.

    out[n, :, y, x] = frame[n, :, y + flow[n, 1, y, x], x + flow[n, 0, y, x]]

    frame  [N, C, H, W]
    flow   [N, 2, H, W]   (dx, dy) in pixels
    out    [N, C, H, W], of the dtype of frame
    """
    expected = (frame.shape[0], 2, *frame.shape[2:])
    if frame.dim() != 4 or tuple(flow.shape) != expected:
        raise ValueError(f"flow must be [N, 2, H, W] = {list(expected)} to match frame, got {list(flow.shape)}")
    out: Tensor = OPERATOR(frame, flow)
    return out


OPERATOR = Operator(
    "backward_warp",
    reference.backward_warp,
    lambda frame, _: [frame.shape],
    triton=triton_kernel,
)
