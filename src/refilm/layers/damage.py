"""What is measured on a picture alone: the level of its noise.

Noise is measured where a picture is flattest: there, what a high-pass filter leaves is noise and no texture. The flat
places are chosen by the means of small squares, which say nothing about the noise itself, so that the choice does not
make the noise seem smaller. Film grain is noise. Noise that a codec has smoothed away or made coarse is not seen.

Source   the high-pass filter: Immerkaer, "Fast Noise Variance Estimation", CVIU 1996.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# A larger picture is measured on bands of rows, evenly spaced, with about so many pixels in all.
LARGEST = 1 << 20
_BAND = 64  # rows
_BLOCK = 8  # side of the squares in which noise and detail are measured, in pixels
_FLATTEST = 0.1  # share of the squares that counts as flat
_FEWEST = 16  # squares without which nothing can be said
# Nearer to black or white than this, in 8-bit levels, noise is cut off.
_CUT_OFF = 4.0
# An average over time needs less than this share of the power that is found in the picture to be believed: then the
# picture has texture and is at rest.
_AT_REST = 0.5


class Noise(NamedTuple):
    """The noise of a picture.

    level    its standard deviation in 8-bit levels, root mean square over R, G and B
    shared   how far R, G and B have the same noise: 0 for white noise on RGB, 1 for noise on luma alone, as film has it
    """

    level: float
    shared: float


def measure_noise(picture: Tensor, before: Tensor | None = None) -> Noise:
    """What noise there is in a picture.

    picture   [3, H, W], RGB, nominal range [0, 1]
    before    the picture before it, of the same size. Where both are at rest, texture is told from noise

    White noise on RGB, or on luma, is found within some 10 %. Level 0 for pictures too small or too dark or bright to
    tell.
    """
    now = _with_mean(bands(255 * picture))
    power = _squares(_high_pass(now)).square().mean(-1)  # [N, 4, h, w]
    if before is not None and before.shape == picture.shape:
        change = now - _with_mean(bands(255 * before))
        changed = _squares(_high_pass(change)).square().mean(-1) / 2
        at_rest = (changed < _AT_REST * power) & (changed > 0)  # without any change, it is a repeated picture
        power = torch.where(at_rest, changed, power)
    inner = now[:, :3, 1:-1, 1:-1]
    light = _squares(inner).mean(-1)
    usable = ((light > _CUT_OFF) & (light < 255 - _CUT_OFF)).all(1)
    if int(usable.sum()) < _FEWEST:
        return Noise(0.0, 1.0)
    means = F.avg_pool2d(inner, _BLOCK // 2)  # four for each square
    unevenness = _squares(means[..., : 2 * power.shape[2], : 2 * power.shape[3]], 2).var(-1).sum(1)[usable]
    flattest = unevenness.argsort()[: max(_FEWEST, int(_FLATTEST * len(unevenness)))]
    *of_rgb, of_mean = power.movedim(1, -1)[usable][flattest].median(0).values.tolist()
    level = sum(of_rgb) / 3
    # the mean of three independent noises has a third of their power, that of three equal ones all of it
    shared = 1.0 if level == 0 else min(max((3 * of_mean / level - 1) / 2, 0.0), 1.0)
    return Noise(level**0.5, shared)


def bands(picture: Tensor) -> Tensor:
    """The picture [C, H, W] as a batch of bands of rows; a small one as a single band. -> [N, C, rows, W]"""
    height, width = picture.shape[1:]
    if height * width <= LARGEST:
        return picture[None]
    count = max(2, LARGEST // (_BAND * width))
    starts = [(height - _BAND) * number // (count - 1) // _BLOCK * _BLOCK for number in range(count)]
    return torch.stack([picture[:, start : start + _BAND] for start in starts])


def _with_mean(rgb: Tensor) -> Tensor:
    """[N, 3, H, W] -> [N, 4, H, W], the last one the mean of the others"""
    return torch.cat([rgb, rgb.mean(1, keepdim=True)], dim=1)


def _high_pass(planes: Tensor) -> Tensor:
    """What is left of constants and slopes is nothing, and white noise keeps its sigma. [N, C, H, W] -> - 2 a side"""
    across = planes[..., 2:] - 2 * planes[..., 1:-1] + planes[..., :-2]
    return (across[..., 2:, :] - 2 * across[..., 1:-1, :] + across[..., :-2, :]) / 6


def _squares(planes: Tensor, side: int = _BLOCK) -> Tensor:
    """The samples of each square. [N, C, H, W] -> [N, C, h, w, side * side], h = H // side"""
    height, width = (size // side for size in planes.shape[-2:])
    cut = planes[..., : height * side, : width * side]
    return cut.unflatten(-1, (width, side)).unflatten(-3, (height, side)).movedim(-3, -2).flatten(-2)
