"""Running a model on pictures of any size: padded to what it needs, and in tiles where the whole is too much."""

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
    """`run` on a clip, by overlapping tiles if `tile` is given and the clip is larger.

    run        [N, C, T, h, w] -> [..., scale * h, scale * w], for any h and w that are multiples of `multiple`
    clip       [N, C, T, H, W], any H and W
    reach      pixels around a result that it depends on; tiles overlap by so much and their margins are thrown away, so
               a finite true reach leaves no seam. None: the model needs the whole picture, which is never tiled
    tile       side of the part of a tile that is kept, input pixels; None: the whole picture at once
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
    """Where a tile starts: far enough before its kept part, and where the whole picture's strides also fall."""
    return max(begin - reach, 0) // multiple * multiple


def _spans(length: int, tile: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + tile, length)) for begin in range(0, length, tile))


def _run_padded(run: Callable[[Tensor], Tensor], clip: Tensor, multiple: int, scale: int) -> Tensor:
    """Pads right and bottom by repeating the border; the padding's share of the result is cut off."""
    height, width = clip.shape[-2:]
    below, beside = -height % multiple, -width % multiple
    if below or beside:
        clip = F.pad(clip, (0, beside, 0, below, 0, 0), mode="replicate")
    return run(clip)[..., : scale * height, : scale * width]
