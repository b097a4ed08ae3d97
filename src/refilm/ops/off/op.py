"""The fixed part of the OFF unit."""

from torch import Tensor

from refilm.ops.off import reference


def off(earlier: Tensor, later: Tensor) -> Tensor:
    """The spatial gradients of the earlier features and their difference in time, which are orthogonal to the flow.

    out = concat(Fx, Fy, Ft) with zero padding, where
    Fx = [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]] * earlier, Fy = [[1, 1, 1], [0, 0, 0], [-1, -1, -1]] * earlier
    (correlated, as layers do), Ft = later - earlier

    earlier, later  [N, C, H, W]   features of two frames
    out             [N, 3C, H, W]
    Source: "Optical flow guided feature", (4)-(7).
    """
    if earlier.dim() != 4 or earlier.shape != later.shape:
        raise ValueError(
            f"earlier and later must be [N, C, H, W] of one shape, got {list(earlier.shape)} and {list(later.shape)}"
        )
    return reference.off(earlier, later)
