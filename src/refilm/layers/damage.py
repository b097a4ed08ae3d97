"""What is measured on a picture alone: the level of its noise, and figures that tell how strongly a codec worked on it.

Noise is measured where a picture is flattest: there, what a high-pass filter leaves is noise and no texture. The flat
places are chosen by the means of small squares, which say nothing about the noise itself, so that the choice does not
make the noise seem smaller. Film grain is noise. Noise that a codec has smoothed away or made coarse is not seen.

Source   the high-pass filter: Immerkaer, "Fast Noise Variance Estimation", CVIU 1996.
"""

from __future__ import annotations

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
_LUMA = 0.2126, 0.7152, 0.0722
_QUANTILES = 0.05, 0.25, 0.5, 0.75, 0.95
FIGURES = 29


def noise_level(picture: Tensor, before: Tensor | None = None) -> float:
    """The standard deviation of the noise in a picture, in 8-bit levels: root mean square over R, G and B.

    picture   [3, H, W], RGB, nominal range [0, 1]
    before    the picture before it, of the same size. Where both are at rest, texture is told from noise

    White noise on RGB, or on luma, is found within some 10 %. 0.0 for pictures too small or too dark or bright to tell.
    """
    now = _bands(255 * picture)
    power = _squares(_high_pass(now)).square().mean(-1)  # [N, 3, h, w]
    if before is not None and before.shape == picture.shape:
        change = now - _bands(255 * before)
        changed = _squares(_high_pass(change)).square().mean(-1) / 2
        at_rest = (changed < _AT_REST * power) & (changed > 0)  # without any change, it is a repeated picture
        power = torch.where(at_rest, changed, power)
    inner = now[..., 1:-1, 1:-1]
    level = _squares(inner).mean(-1)
    usable = ((level > _CUT_OFF) & (level < 255 - _CUT_OFF)).all(1)
    if int(usable.sum()) < _FEWEST:
        return 0.0
    means = F.avg_pool2d(inner, _BLOCK // 2)  # four for each square
    unevenness = _squares(means[..., : 2 * power.shape[2], : 2 * power.shape[3]], 2).var(-1).sum(1)[usable]
    flattest = unevenness.argsort()[: max(_FEWEST, int(_FLATTEST * len(unevenness)))]
    return float(power.movedim(1, -1)[usable][flattest].median(0).values.mean().sqrt())


def coding_figures(picture: Tensor) -> Tensor:
    """Figures from which the strength of a compression can be learned, [FIGURES].

    They describe how detail of one, two and four pixels is spread over the squares of the picture: a codec takes the
    finest detail away, and most of it where there was little. And how much larger steps between pixels are on a grid
    of 8 or 4 pixels than beside it.

    picture   [3, H, W], RGB, nominal range [0, 1], at least 32 x 32 pixels
    """
    luma = 255 * _bands((picture * picture.new_tensor(_LUMA).view(3, 1, 1)).sum(0, keepdim=True))  # [N, 1, h, W]
    rows, columns = ((side - 8) // _BLOCK for side in luma.shape[-2:])
    fine, middle, coarse = (
        _squares(_high_pass(F.avg_pool2d(luma, size)), _BLOCK // size).square().mean(-1)[..., :rows, :columns].flatten()
        for size in (1, 2, 4)
    )
    logs = [torch.log10(power + 1e-3) for power in (fine, middle, coarse)]
    quantiles = luma.new_tensor(_QUANTILES)
    figures = [torch.quantile(log, quantiles) for log in logs[:2]]
    for power, log in ((middle, logs[1]), (coarse, logs[2])):
        ratio = (logs[0] - log)[power >= min(1.0, float(power.topk(min(30, len(power))).values[-1]))]
        figures += [torch.quantile(ratio, quantiles[:4]), ratio.std(correction=0)[None]]
    shares = [(fine < limit).float().mean() for limit in (0.01, 0.1, 0.3)] + [
        logs[0].std(),
        (middle > 1).float().mean(),
    ]
    figures.append(torch.stack([*shares, *_grid(luma)]))
    return torch.cat(figures)


def _grid(luma: Tensor) -> list[Tensor]:
    """The logarithms of the excess of steps on a grid of 8 and of 4 pixels, wherever that begins, and of the steps."""
    across = [(plane[..., 1:] - plane[..., :-1]).abs().clamp(max=6) for plane in (luma, luma.mT)]
    excess = [step[..., 1:-1] - (step[..., :-2] + step[..., 2:]) / 2 for step in across]
    found = []
    for period in (8, 4):
        phases = torch.zeros(period)
        for step in excess:
            columns = step.flatten(0, -2).mean(0)
            phases += columns[: len(columns) // period * period].view(-1, period).mean(0).cpu() / 2
        found.append(torch.log10((phases.max() - phases.median()).clamp(min=0) + 0.02))
    mean_step = torch.log10((across[0].mean() + across[1].mean()).cpu() / 2 + 0.05)
    return [each.to(luma) for each in (*found, found[0] - mean_step, mean_step)]


def _bands(picture: Tensor) -> Tensor:
    """The picture [C, H, W] as a batch of bands of rows; a small one as a single band. -> [N, C, rows, W]"""
    height, width = picture.shape[1:]
    if height * width <= LARGEST:
        return picture[None]
    count = max(2, LARGEST // (_BAND * width))
    starts = [(height - _BAND) * number // (count - 1) // _BLOCK * _BLOCK for number in range(count)]
    return torch.stack([picture[:, start : start + _BAND] for start in starts])


def _high_pass(planes: Tensor) -> Tensor:
    """What is left of constants and slopes is nothing, and white noise keeps its sigma. [N, C, H, W] -> - 2 a side"""
    across = planes[..., 2:] - 2 * planes[..., 1:-1] + planes[..., :-2]
    return (across[..., 2:, :] - 2 * across[..., 1:-1, :] + across[..., :-2, :]) / 6


def _squares(planes: Tensor, side: int = _BLOCK) -> Tensor:
    """The samples of each square. [N, C, H, W] -> [N, C, h, w, side * side], h = H // side"""
    height, width = (size // side for size in planes.shape[-2:])
    cut = planes[..., : height * side, : width * side]
    return cut.unflatten(-1, (width, side)).unflatten(-3, (height, side)).movedim(-3, -2).flatten(-2)
