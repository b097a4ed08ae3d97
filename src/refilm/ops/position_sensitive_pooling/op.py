"""The operator `refilm::position_sensitive_pooling`. It is defined by reference.py; cpu.cpp has its kernel."""

from torch import Tensor

from refilm.ops.position_sensitive_pooling import reference
from refilm.ops.registration import Operator


def position_sensitive_pooling(maps: Tensor, boxes: Tensor, bins: int) -> Tensor:
    """The means of position-sensitive maps over the bins of boxes: each bin has maps of its own.

    A box is cut into bins x bins equal rectangles. In row i and column j of them,

        out[n, r, c, i, j] = the mean of maps[n, (i * bins + j) * C + c] over the rectangle,

    where the map is constant within each of its places, and zero beyond its borders. Bins are not rounded to whole
    places, as they are in R-FCN: a box of 16 pixels has less than two places at a stride of 16. The mean is exact, so
    it changes smoothly with the box ("precise RoI pooling"), and there are gradients of the maps and of the boxes.

    maps   [N, bins * bins * C, H, W]
    boxes  [N, R, 4]   left, top, right and bottom, in places of the map: place (x, y) is [x, x + 1] x [y, y + 1]
    out    [N, R, C, bins, bins]
    Source: Dai et al., "R-FCN", NIPS 2016, arXiv 1605.06409, (1); the exact mean: Jiang et al., "Acquisition of
    Localization Confidence for Accurate Object Detection", ECCV 2018, arXiv 1807.11590, (4).
    """
    if maps.dim() != 4 or bins < 1 or maps.shape[1] % (bins * bins):
        raise ValueError(
            f"maps must be [N, bins * bins * C, H, W] with bins * bins = {bins * bins}, got {list(maps.shape)}"
        )
    if boxes.dim() != 3 or boxes.shape[0] != maps.shape[0] or boxes.shape[2] != 4:
        raise ValueError(f"boxes must be [N, R, 4] with N = {maps.shape[0]} to match maps, got {list(boxes.shape)}")
    out: Tensor = OPERATOR(maps, boxes, bins)
    return out


OPERATOR = Operator(
    "position_sensitive_pooling",
    reference.position_sensitive_pooling,
    lambda maps, boxes, bins: [(*boxes.shape[:2], maps.shape[1] // (bins * bins), bins, bins)],
    numbers=1,
    differentiable=False,
)
