"""Planes to RGB and back, so that a frame nobody changed comes back sample for sample.

Source   matrices, ranges and quantisation: ITU-T H.273 (8.3), which collects BT.601, BT.709, BT.2020 and SMPTE 240M;
         chroma filters: the biorthogonal pairs of Cohen, Daubechies, Feauveau, CPAM 1992 (LeGall 5/3 where chroma is
         co-sited with luma, the (1, 3, 3, 1) pair where it lies between two luma samples).
Why      an ordinary converter blurs chroma a little each time. In a biorthogonal pair the decimation undoes the
         interpolation exactly, so `from_rgb` after `to_rgb` is the identity on every sample of every format below; and
         since both are linear and RGB is not clamped in between, colours outside the RGB cube survive as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from refilm.errors import VideoError
from refilm.video.colour import Colour
from refilm.video.pixel_format import PixelFormat

# (Kr, Kb): the weights of red and blue in luma; Kg is what is left of 1. H.273, table 4.
LUMA_WEIGHTS = {
    "bt709": (0.2126, 0.0722),
    "smpte170m": (0.299, 0.114),
    "bt470bg": (0.299, 0.114),
    "bt2020nc": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}

# Whether a subsampled chroma sample lies on a luma sample, (across, down); otherwise halfway to the next one.
_COSITED = {"left": (True, False), "center": (False, False), "topleft": (True, True), "top": (False, True)}


def to_rgb(planes: Sequence[np.ndarray], fmt: PixelFormat, colour: Colour) -> Tensor:
    """The picture that planes of a format and colour hold, not linear light: [3, H, W], float32.

    Nominal range [0, 1], deliberately not clamped: codes below black or above white, and colours that YCbCr can say
    and RGB cannot, come out beyond it and survive the way back. A gray picture has three equal channels.
    Raises VideoError for a matrix, range or chroma location that it cannot honour.
    """
    levels = _Levels.of(fmt, colour)
    rgb = torch.empty(3, *planes[0].shape)
    red, green, blue = rgb
    if fmt.kind == "rgb":
        for channel, plane in zip((green, blue, red), planes, strict=True):
            channel.copy_(_codes(plane)).sub_(levels.black).div_(levels.luma_span)
    elif fmt.kind == "gray":
        rgb.copy_(_codes(planes[0])).sub_(levels.black).div_(levels.luma_span)
    else:
        k_r, k_b = _luma_weights(colour.matrix)
        cosited = _sites(fmt, colour)
        y, cb, cr = (_codes(plane) for plane in planes)
        # B - Y and R - Y are made in the planes that will hold B and R, and Y in that of G: no temporaries
        _upsample(_chroma(cb, levels, 2 * (1 - k_b)), fmt, cosited, out=blue)
        _upsample(_chroma(cr, levels, 2 * (1 - k_r)), fmt, cosited, out=red)
        green.copy_(y).sub_(levels.black).div_(levels.luma_span)
        blue.add_(green)
        red.add_(green)
        # Y = Kr R + Kg G + Kb B, solved for G
        green.sub_(red, alpha=k_r).sub_(blue, alpha=k_b).div_(1 - k_r - k_b)
    return rgb


def from_rgb(rgb: Tensor, fmt: PixelFormat, colour: Colour) -> tuple[np.ndarray, ...]:
    """The planes of a picture in a format and colour, rounded to the nearest code.

    rgb     [3, H, W], float, nominal range [0, 1], on any device; values beyond the range are kept as far as there
            are codes for them: a limited-range format has some below black and above white
    out     uint8 or uint16 arrays [H, W], chroma smaller where subsampled, in the format's order
    Raises VideoError as `to_rgb` does.
    """
    if rgb.ndim != 3 or rgb.shape[0] != 3:
        raise ValueError(f"rgb must be [3, H, W], got {list(rgb.shape)}")
    levels = _Levels.of(fmt, colour)
    red, green, blue = rgb.detach().float()
    if fmt.kind == "rgb":
        return tuple(_quantise(c * levels.luma_span, levels.black, fmt) for c in (green, blue, red))
    gray_matrix = "bt709" if fmt.kind == "gray" and colour.matrix not in LUMA_WEIGHTS else colour.matrix
    k_r, k_b = _luma_weights(gray_matrix)
    y = (red * k_r).add_(green, alpha=1 - k_r - k_b).add_(blue, alpha=k_b)
    if fmt.kind == "gray":
        return (_quantise(y.mul_(levels.luma_span), levels.black, fmt),)
    cosited = _sites(fmt, colour)
    cb = _downsample(blue - y, fmt, cosited).mul_(levels.chroma_span / (2 * (1 - k_b)))
    cr = _downsample(red - y, fmt, cosited).mul_(levels.chroma_span / (2 * (1 - k_r)))
    y.mul_(levels.luma_span)
    return (
        _quantise(y, levels.black, fmt),
        _quantise(cb, levels.neutral, fmt),
        _quantise(cr, levels.neutral, fmt),
    )


@dataclass(frozen=True)
class _Levels:
    """Which codes are black, white and neutral: H.273, equations 20 to 31."""

    black: float  # code of Y, R, G, B = 0
    luma_span: float  # codes from 0 to 1
    neutral: float  # code of Cb, Cr = 0
    chroma_span: float  # codes from -0.5 to 0.5

    @classmethod
    def of(cls, fmt: PixelFormat, colour: Colour) -> _Levels:
        neutral = float(1 << (fmt.bits - 1))
        if colour.range == "pc":
            largest = float((1 << fmt.bits) - 1)
            return cls(0.0, largest, neutral, largest)
        if colour.range == "tv":
            step = float(1 << (fmt.bits - 8))
            return cls(16 * step, 219 * step, neutral, 224 * step)
        raise VideoError(f"colour range must be tv or pc, got {colour.range}")


def _luma_weights(matrix: str) -> tuple[float, float]:
    if matrix not in LUMA_WEIGHTS:
        raise VideoError(
            f"the colour matrix {matrix} is not supported for YUV (supported: {', '.join(LUMA_WEIGHTS)}); "
            "convert the file first, for example with ffmpeg -vf zscale=matrix=bt709"
        )
    return LUMA_WEIGHTS[matrix]


def _sites(fmt: PixelFormat, colour: Colour) -> tuple[bool, bool]:
    if fmt.chroma_w == fmt.chroma_h == 0:
        return True, True
    if colour.chroma_location not in _COSITED:
        raise VideoError(
            f"the chroma location {colour.chroma_location} is not supported (supported: {', '.join(_COSITED)}); "
            "convert the file first, for example with ffmpeg -vf zscale=chromal=left"
        )
    return _COSITED[colour.chroma_location]


def _codes(plane: np.ndarray) -> Tensor:
    """A plane as a tensor of its own: a decoder's memory may be read-only or padded, which torch does not take."""
    codes = torch.empty(plane.shape, dtype=torch.uint8 if plane.dtype == np.uint8 else torch.uint16)
    np.copyto(codes.numpy(), plane)
    return codes


def _chroma(codes: Tensor, levels: _Levels, scale: float) -> Tensor:
    return codes.float().sub_(levels.neutral).mul_(scale / levels.chroma_span)


def _quantise(samples: Tensor, offset: float, fmt: PixelFormat) -> np.ndarray:
    """Samples in codes, changed in place; the whole code range is used, also the margins of limited range."""
    codes = samples.add_(offset).round_().clamp_(0, (1 << fmt.bits) - 1)
    planes: np.ndarray = codes.to(torch.uint8 if fmt.bits == 8 else torch.uint16).cpu().numpy()
    return planes


def _upsample(chroma: Tensor, fmt: PixelFormat, cosited: tuple[bool, bool], out: Tensor) -> None:
    """[h, w] -> `out` [H, W]. Across first, where the strided work is, while the plane is small."""
    height, width = out.shape
    for level in reversed(range(fmt.chroma_w)):
        last = level == 0 and fmt.chroma_h == 0
        wider = out if last else chroma.new_empty(chroma.shape[0], -(-width >> level))
        _interpolate(chroma, cosited[0], wider)
        chroma = wider
    for level in reversed(range(fmt.chroma_h)):
        taller = out if level == 0 else chroma.new_empty(-(-height >> level), chroma.shape[1])
        _interpolate(chroma.mT, cosited[1], taller.mT)
        chroma = taller
    if chroma is not out:
        out.copy_(chroma)


def _downsample(chroma: Tensor, fmt: PixelFormat, cosited: tuple[bool, bool]) -> Tensor:
    """[H, W] -> [h, w]: undoes `_upsample`, level by level."""
    for _ in range(fmt.chroma_h):
        shorter = chroma.new_empty(-(-chroma.shape[0] // 2), chroma.shape[1])
        _decimate(chroma.mT, cosited[1], shorter.mT)
        chroma = shorter
    for _ in range(fmt.chroma_w):
        narrower = chroma.new_empty(chroma.shape[0], -(-chroma.shape[1] // 2))
        _decimate(chroma, cosited[0], narrower)
        chroma = narrower
    return chroma


def _interpolate(coarse: Tensor, cosited: bool, fine: Tensor) -> None:
    """Linear interpolation along the last axis, [.., n] -> `fine` [.., 2n or 2n - 1]; the border sample is repeated.

    co-sited   fine[2k] = coarse[k]                             fine[2k+1] = (coarse[k] + coarse[k+1]) / 2
    mid-sited  fine[2k] = (coarse[k-1] + 3 coarse[k]) / 4       fine[2k+1] = (3 coarse[k] + coarse[k+1]) / 4
    """
    even, odd = fine[..., 0::2], fine[..., 1::2]
    inner = min(odd.shape[-1], coarse.shape[-1] - 1)  # odd samples that lie between two coarse ones
    before, after = coarse[..., :inner], coarse[..., 1 : inner + 1]
    odd[..., inner:] = coarse[..., inner : odd.shape[-1]]
    if cosited:
        even.copy_(coarse)
        torch.lerp(before, after, 0.5, out=odd[..., :inner])
    else:
        even[..., :1] = coarse[..., :1]
        torch.lerp(coarse[..., 1:], coarse[..., :-1], 0.25, out=even[..., 1:])
        torch.lerp(before, after, 0.25, out=odd[..., :inner])


def _decimate(fine: Tensor, cosited: bool, coarse: Tensor) -> None:
    """The dual of `_interpolate`, [.., 2n or 2n - 1] -> `coarse` [.., n]: decimating an interpolated row restores it.

    co-sited   coarse[k] = (-1, 2, 6, 2, -1) / 8 around fine[2k]
    mid-sited  coarse[k] = (-1, 3, 3, -1) / 4 around the middle of fine[2k], fine[2k+1]

    The extensions at the borders are those under which it stays the inverse, also of an odd number of samples.
    """
    even, odd = fine[..., 0::2], fine[..., 1::2]
    if cosited:
        # in lifting form: detail is what interpolation from the even samples fails to predict, none if interpolated
        inner = min(odd.shape[-1], even.shape[-1] - 1)
        detail = odd.clone()
        detail[..., :inner].sub_(even[..., :inner], alpha=0.5).sub_(even[..., 1 : inner + 1], alpha=0.5)
        detail[..., inner:].sub_(even[..., inner : odd.shape[-1]])
        coarse.copy_(even)
        if detail.shape[-1] == 0:
            return
        coarse[..., : odd.shape[-1]].add_(detail, alpha=0.25)
        coarse[..., odd.shape[-1] :].add_(detail[..., -1:], alpha=0.25)
        coarse[..., 1:].add_(detail[..., : coarse.shape[-1] - 1], alpha=0.25)
        coarse[..., :1].add_(detail[..., :1], alpha=0.25)
        return
    if odd.shape[-1] < even.shape[-1]:
        # the missing last sample, from fine[-2] = (3 a + b) / 4 and fine[-1] = (a + 3 b) / 4: it would be b
        last = even[..., -1:] if odd.shape[-1] == 0 else torch.lerp(odd[..., -1:], even[..., -1:], 1.5)
        odd = torch.cat((odd, last), dim=-1)
    torch.add(even, odd, out=coarse).mul_(0.75)
    coarse[..., 1:].sub_(odd[..., :-1], alpha=0.25)
    coarse[..., :1].sub_(even[..., :1], alpha=0.25)
    coarse[..., :-1].sub_(even[..., 1:], alpha=0.25)
    coarse[..., -1:].sub_(odd[..., -1:], alpha=0.25)
