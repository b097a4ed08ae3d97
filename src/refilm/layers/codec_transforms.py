"""Analysis and synthesis of learned codecs: strided convolutions with GDN between them, and their mirror image.

Source   Ballé et al., "Variational Image Compression with a Scale Hyperprior", ICLR 2018, arXiv 1802.01436, figure 4;
         the residual's coder of DVC has the same layers.
Departs  the layers begin as a wavelet transform of the lowest frequencies, the Haar wavelet or that of Le Gall and
         Tabatabai (5/3, ICASSP 1988), so that a codec works from the first step and is bettered from there. With random
         layers, thousands of steps go into getting that far: docs/choices.md#compression.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from refilm.layers.gdn import GDN

# Filters by the side of a layer's kernel: low and high pass of the analysis, then of the synthesis, of which the last
# tap would lie beyond the kernel. Two outputs of a layer of stride 2 begin at the same place of its input.
_FILTERS = {
    3: (((0, 1, 1), (0, 1, -1)), ((0, 1, 1), (0, 1, -1))),
    5: (
        ((-1 / 4, 1 / 2, 3 / 2, 1 / 2, -1 / 4), (0, 0, -1 / 2, 1, -1 / 2)),
        ((0, 1 / 2, 1, 1 / 2, 0), (0, -1 / 4, -1 / 2, 3 / 2, -1 / 2)),
    ),
}
# RGB to about luma, blue minus red, and green minus the others
_COLOURS = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]])
_RANDOM = 0.3  # size of the weights of channels that are no part of the transform, relative to such that keep the size


class _Band(NamedTuple):
    """A channel at first: how much its frequency and colour count against it, and that of the channel before."""

    rank: float
    colour: int


def analysis(planes: int, channels: int, latents: int, layers: int = 4, side: int = 5) -> nn.Sequential:
    """`layers` convolutions of stride 2, GDN between them. [N, planes, H, W] -> [N, latents, H / 2^layers, ...]"""
    parts: list[nn.Module] = []
    for number, (weight, _) in enumerate(_transform(planes, channels, latents, layers, side)):
        after, before = weight.shape[:2]
        parts += [GDN(before)] if number else []
        parts.append(_with_weight(nn.Conv2d(before, after, side, 2, side // 2), weight))
    return nn.Sequential(*parts)


def synthesis(latents: int, channels: int, planes: int, layers: int = 4, side: int = 5) -> nn.Sequential:
    """`layers` transposed convolutions of stride 2, IGDN between them; the mirror image of `analysis`."""
    parts: list[nn.Module] = []
    for number, (_, weight) in enumerate(reversed(_transform(planes, channels, latents, layers, side))):
        before, after = weight.shape[:2]
        parts += [GDN(before, inverse=True)] if number else []
        parts.append(_with_weight(nn.ConvTranspose2d(before, after, side, 2, side // 2, 1), weight))
    return nn.Sequential(*parts)


def _transform(planes: int, channels: int, latents: int, layers: int, side: int) -> list[tuple[Tensor, Tensor]]:
    """The weights of each layer of the analysis, and of its mirror image: [after, before, side, side] twice.

    Of the bands into which a layer divides its input, those of the lowest frequencies are kept, as far as there are
    channels; those of colour differences rank behind.
    """
    found = []
    bands = [_Band(0.0, colour) for colour in range(planes)]
    for layer in range(layers):
        after = latents if layer == layers - 1 else channels
        before = channels if layer else planes
        # a high pass of an early layer stands for a higher frequency than one of a late layer
        new = [
            (_Band(band.rank + (down + across) * 2.0 ** (layers - layer), band.colour), source, down, across)
            for source, band in enumerate(bands)
            for down in (0, 1)
            for across in (0, 1)
        ]
        new.sort(key=lambda entry: entry[0].rank + (6.0 * (layer + 1) if planes == 3 and entry[0].colour else 0.0))
        new = new[:after]
        size = _RANDOM * (before * side**2) ** -0.5
        weights = [size * torch.randn(after, before, side, side) for _ in range(2)]
        for weight, filters in zip(weights, _FILTERS[side], strict=True):
            taps = 0.5**0.5 * torch.tensor(filters)
            for place, (_, source, down, across) in enumerate(new):
                weight[place] = 0
                kernel = torch.outer(taps[down], taps[across])
                if layer == 0 and planes == 3:
                    colour = _COLOURS[source] / _COLOURS[source].norm()
                    weight[place] = colour[:, None, None] * kernel
                else:
                    weight[place, source] = kernel
        # what the mirror image makes of channels beside the transform is nothing at first
        weights[1][len(new) :] = 0
        found.append((weights[0], weights[1]))
        bands = [entry[0] for entry in new]
    return found


def _with_weight(layer: nn.Conv2d | nn.ConvTranspose2d, weight: Tensor) -> nn.Module:
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer
