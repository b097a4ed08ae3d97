"""The operator `refilm::correlation`. It is defined by reference.py; kernels: cpu.cpp, triton_kernel.py."""

from torch import Tensor

from refilm.ops.correlation import reference, triton_kernel
from refilm.ops.registration import Operator


def correlation(left: Tensor, right: Tensor, radius: int = 4) -> Tensor:
    """Compare each pixel's features with those of the pixels around the same place in the other frame.

    out[n, k, y, x] = mean over c of left[n, c, y, x] * right[n, c, y + j, x + i]

    k numbers the displacements (j, i) in [-radius, radius]^2 row by row; `right` is zero outside the frame.

    left, right  [N, C, H, W]
    out          [N, (2 radius + 1)^2, H, W]
    """
    if left.dim() != 4 or left.shape != right.shape:
        raise ValueError(
            f"left and right must be [N, C, H, W] of one shape, got {list(left.shape)} and {list(right.shape)}"
        )
    if radius < 0:
        raise ValueError(f"radius must be at least 0 pixels, got {radius}")
    out: Tensor = OPERATOR(left, right, radius)
    return out


OPERATOR = Operator(
    "correlation",
    reference.correlation,
    lambda left, _, radius: [(left.shape[0], (2 * radius + 1) ** 2, *left.shape[2:])],
    numbers=1,
    triton=triton_kernel,
)
