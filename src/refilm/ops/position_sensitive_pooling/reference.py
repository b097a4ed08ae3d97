"""Position-sensitive pooling in plain torch: the definition of `refilm::position_sensitive_pooling`."""

import torch
from torch import Tensor

# Least length of a bin's sides, in places of the map.
_SHORTEST = 2**-10


def position_sensitive_pooling(maps: Tensor, boxes: Tensor, bins: int) -> Tensor:
    """See op.py.

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
