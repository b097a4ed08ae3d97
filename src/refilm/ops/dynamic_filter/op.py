"""Dynamic upsampling filters, the operator of VSR-DUF."""

from math import isqrt

from torch import Tensor

from refilm.ops.dynamic_filter import reference


def dynamic_filter(frame: Tensor, filters: Tensor) -> Tensor:
    """Enlarge `frame` s times: each of the s * s new pixels has its own filter over the K x K pixels about the old one.

    frame    [N, C, H, W]
    filters  [N, K*K, s*s, H, W]   K odd; taps and sub-pixels row by row; usually a softmax over the taps
    out      [N, C, sH, sW]
    Zero outside the frame. Source: VSR-DUF, (1).
    """
    n, _, height, width = frame.shape
    size, scale = (isqrt(filters.shape[1]), isqrt(filters.shape[2])) if filters.dim() == 5 else (0, 0)
    if tuple(filters.shape) != (n, size * size, scale * scale, height, width) or size % 2 == 0:
        raise ValueError(
            f"filters must be [N, K*K, s*s, H, W] = [{n}, K*K, s*s, {height}, {width}] with K odd, "
            f"got {list(filters.shape)}"
        )
    return reference.dynamic_filter(frame, filters)
