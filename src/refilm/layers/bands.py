"""Work on a picture in bands of rows, which bounds the memory that it takes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

BAND_PIXELS = 2**20  # pixels of a band without its halo


def band_rows(width: int, multiple: int = 1) -> int:
    """Rows of a band of a picture of this width: at most BAND_PIXELS in all, a multiple of `multiple`, and no fewer."""
    return max(BAND_PIXELS // width // multiple, 1) * multiple


def fill_by_bands(
    out: Tensor, make: Callable[[int, int], Tensor], halo: int = 0, multiple: int = 1, most: int | None = None
) -> Tensor:
    """Fill a picture with what `make` gives for bands of its rows, from the top to the bottom.

    out       [..., H, W], written to
    make      make(first, last) -> rows first ... last - 1 of the result, [..., last - first, W]
    halo      rows at the upper and lower end of what `make` gives that are wrong, since they depend on rows beyond;
              not so at the ends of the picture. Bands overlap by them, and they are cut off
    multiple  `first` and `last` are multiples of this, if H and `halo` are
    most      rows of a band at most, if it should be smaller than usual

    Returns `out`.
    """
    height, width = out.shape[-2:]
    rows = band_rows(width, multiple) if most is None else min(band_rows(width, multiple), most)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(top - halo, 0), min(bottom + halo, height)
        out[..., top:bottom, :] = make(first, last)[..., top - first : bottom - first, :]
    return out
