"""Running a model on pictures of any size: padded to its `size_multiple`, and in tiles to save memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch.nn.functional as F
from torch import Tensor


def run_tiled(
    run: Callable[[Tensor], Tensor],
    clip: Tensor,
    *,
    reach: int | None,
    multiple: int = 1,
    scale: int = 1,
    tile: int | None = None,
) -> Tensor:
    """Apply `run` to a clip, in overlapping tiles if the clip is larger than `tile`.

    run        [N, C, T, h, w] -> [..., scale * h, scale * w], for any h and w that are multiples of `multiple`
    clip       [N, C, T, H, W], any H and W
    reach      pixels of context, on each side, that a result depends on. Tiles overlap by this much and their margins
               are cut off, so that the result is the same as without tiles. None: the whole picture is needed, and
               `tile` is ignored
    tile       side of the part of a tile that is kept, in input pixels; None: no tiles
    out        [..., scale * H, scale * W]

    Raises ValueError if `tile` is below 1.
    """
    height, width = clip.shape[-2:]
    if tile is None or reach is None or (height <= tile and width <= tile):
        return _run_padded(run, clip, multiple, scale)
    if tile < 1:
        raise ValueError(f"tile must be at least 1 pixel, got {tile}")
    result: Tensor | None = None
    for top, bottom in _spans(height, tile):
        for left, right in _spans(width, tile):
            y0, x0 = _margin_start(top, reach, multiple), _margin_start(left, reach, multiple)
            part = clip[..., y0 : bottom + reach, x0 : right + reach]
            out = _run_padded(run, part, multiple, scale)
            if result is None:
                result = out.new_empty(*out.shape[:-2], scale * height, scale * width)
            kept = out[..., scale * (top - y0) : scale * (bottom - y0), scale * (left - x0) : scale * (right - x0)]
            result[..., scale * top : scale * bottom, scale * left : scale * right] = kept
    assert result is not None
    return result


def _margin_start(begin: int, reach: int, multiple: int) -> int:
    """The start of a tile: `reach` before its kept part, rounded down to a multiple, as the model's strides require."""
    return max(begin - reach, 0) // multiple * multiple


def _spans(length: int, tile: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + tile, length)) for begin in range(0, length, tile))


def _run_padded(run: Callable[[Tensor], Tensor], clip: Tensor, multiple: int, scale: int) -> Tensor:
    """Pad height and width to multiples, at the right and bottom by repeating the border, and crop the result."""
    height, width = clip.shape[-2:]
    below, beside = -height % multiple, -width % multiple
    if below or beside:
        clip = F.pad(clip, (0, beside, 0, below, 0, 0), mode="replicate")
    return run(clip)[..., : scale * height, : scale * width]
