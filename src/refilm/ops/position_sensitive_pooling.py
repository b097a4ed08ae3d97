"""Position-sensitive pooling of regions, the heart of R-FCN."""

import torch
from torch import Tensor

# Least length of a bin's sides, in places of the map.
_SHORTEST = 2**-10


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
    return position_sensitive_pooling_reference(maps, boxes, bins)


def position_sensitive_pooling_reference(maps: Tensor, boxes: Tensor, bins: int) -> Tensor:
    """`position_sensitive_pooling` of checked inputs, in plain torch.

    A bin is a rectangle, so its mean is a mean over columns of means over rows. Both are products with matrices, of
    which an entry is the share of a bin that lies in a column, or row, of the map.
    """
    height, width = maps.shape[-2:]
    across = _shares(boxes[..., 0], boxes[..., 2], bins, width)
    down = _shares(boxes[..., 1], boxes[..., 3], bins, height)
    by_bin = maps.unflatten(1, (bins, bins, -1))
    columns = torch.einsum("nrjw,nijchw->nrijch", across.to(maps.dtype), by_bin)
    return torch.einsum("nrih,nrijch->nrcij", down.to(columns.dtype), columns)


def _shares(low: Tensor, high: Tensor, bins: int, length: int) -> Tensor:
    """The share of each bin that lies in each place of a side: [N, R] twice -> [N, R, bins, length]

    The shares of a bin add up to 1, or to less where it reaches beyond the map. One without any extent is seen at its
    place, as if it were very short.
    """
    size = ((high - low) / bins).clamp(min=_SHORTEST).unsqueeze(-1)
    begin = low.unsqueeze(-1) + size * torch.arange(bins, device=low.device, dtype=low.dtype)
    places = torch.arange(length, device=low.device, dtype=low.dtype)
    begin, end = begin.unsqueeze(-1), (begin + size).unsqueeze(-1)
    inside = torch.minimum(end, places + 1) - torch.maximum(begin, places)
    return inside.clamp(min=0) / size.unsqueeze(-1)
