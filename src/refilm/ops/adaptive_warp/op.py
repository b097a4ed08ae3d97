"""The operator `refilm::adaptive_warp`. It is defined by reference.py; kernels: cpu.cpp, triton_kernel.py."""

from math import isqrt

from torch import Tensor

from refilm.ops.adaptive_warp import reference, triton_kernel
from refilm.ops.registration import Operator


def adaptive_warp(frame: Tensor, flow: Tensor, kernel: Tensor) -> Tensor:
    """Sample `frame` at the positions `flow` points to, with a kernel of R x R coefficients for each output pixel.

    (u, v) = (x + dx, y + dy) is the position, clamped to the frame, and (a, b) its fractional part. The R x R pixels
    from (floor u + 1 - R/2, floor v + 1 - R/2) on, each clamped to the frame, form four quadrants around (u, v). With
    q_tl, q_tr, q_bl, q_br the sums of kernel times pixel over the quadrants (t, b: top, bottom; l, r: left, right),
    out = (1-a)(1-b) q_tl + a (1-b) q_tr + (1-a) b q_bl + a b q_br.

    frame   [N, C, H, W]
    flow    [N, 2, H, W]     (dx, dy) in pixels
    kernel  [N, R*R, H, W]   row by row, R even; R = 2 with all ones is bilinear warping
    out     [N, C, H, W]
    Source: MEMC-Net, IEEE TPAMI 2019. Departs: where the position is outside the frame, the published code copies the
    pixel (x, y), which makes a jump; clamping does not.
    """
    n, _, height, width = frame.shape
    if tuple(flow.shape) != (n, 2, height, width):
        raise ValueError(f"flow must be [N, 2, H, W] = {[n, 2, height, width]} to match frame, got {list(flow.shape)}")
    size = isqrt(kernel.shape[1]) if kernel.dim() == 4 else 0
    if tuple(kernel.shape) != (n, size * size, height, width) or size % 2 or not size:
        raise ValueError(
            f"kernel must be [N, R*R, H, W] = [{n}, R*R, {height}, {width}] with R even, got {list(kernel.shape)}"
        )
    out: Tensor = OPERATOR(frame, flow, kernel)
    return out


OPERATOR = Operator(
    "adaptive_warp",
    reference.adaptive_warp,
    lambda frame, *_: [frame.shape],
    triton=triton_kernel,
)
