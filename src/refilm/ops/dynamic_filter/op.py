"""The operator `refilm::dynamic_filter`. It is defined by reference.py; kernels: cpu.cpp, triton_kernel.py."""

from math import isqrt

from torch import Tensor

from refilm.ops.dynamic_filter import reference, triton_kernel
from refilm.ops.registration import Operator


def dynamic_filter(frame: Tensor, filters: Tensor) -> Tensor:
    """Upscale `frame` s times: each output pixel has its own filter over the K x K input pixels around its place.

    frame    [N, C, H, W]
    filters  [N, K*K, s*s, H, W]   K odd; taps and sub-pixels row by row; usually softmax over the taps
    out      [N, C, sH, sW]
    Pixels outside the frame are zero. Source: VSR-DUF, (1).
    """
    n, _, height, width = frame.shape
    size, scale = (isqrt(filters.shape[1]), isqrt(filters.shape[2])) if filters.dim() == 5 else (0, 0)
    if tuple(filters.shape) != (n, size * size, scale * scale, height, width) or size % 2 == 0:
        raise ValueError(
            f"filters must be [N, K*K, s*s, H, W] = [{n}, K*K, s*s, {height}, {width}] with K odd, "
            f"got {list(filters.shape)}"
        )
    out: Tensor = OPERATOR(frame, filters)
    return out


def _shapes(frame: Tensor, filters: Tensor) -> list[tuple[int, ...]]:
    scale = isqrt(filters.shape[2])
    return [(*frame.shape[:2], scale * frame.shape[2], scale * frame.shape[3])]


OPERATOR = Operator("dynamic_filter", reference.dynamic_filter, _shapes, triton=triton_kernel)
