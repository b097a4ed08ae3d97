"""A small network that tells how strongly compression has damaged a picture, from the picture alone.

It decides how much of a restoration is applied, see `refilm.stages.damage`; it is no model of a task. Trained by
`benchmarks/coding_damage.py`, on clean pictures and on such after H.264, HEVC, MPEG-2, MPEG-4, JPEG and JPEG 2000 of
known quality.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.damage import bands
from refilm.layers.optical_flow import LUMA_BT709
from refilm.weights import SHIPPED, load_weights

WIDTHS = 16, 32, 48, 48
WEIGHTS = "coding-damage-d6c56a19.safetensors"
SMALLEST = 32  # side in pixels of the smallest picture that can be judged
# Root mean square of the finest detail, in 8-bit levels, below which a picture is even, and nothing is to be restored:
# rounding a slope to 8 bits leaves 0.3, and x264 at crf 45 leaves 1.2 and more of films.
EVEN = 0.5


class CodingDamage(nn.Module):
    """Estimates the strength of deblocking that suits a picture best: 0 for a clean one ... 1 for H.264 at crf 37.

    Each place of a map of stride 8, which is the grid of most codecs, has an estimate and a weight.
    """

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.layers = nn.Sequential(
            nn.Conv2d(1, first, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(second, third, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(third, fourth, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(fourth, 2, 1),
        )

    def forward(self, detail: Tensor) -> Tensor:
        """What `detail_of` gives, [N, 1, H, W], at least SMALLEST a side -> [N]; not clamped."""
        # what a codec changes is a few levels of 8 bits, beside edges of a hundred
        estimate, weight = self.layers(torch.asinh(detail)).flatten(2).unbind(1)
        damage: Tensor = (estimate * weight.softmax(dim=1)).sum(dim=1)
        return damage


def detail_of(luma: Tensor) -> Tensor:
    """The finest detail, in 8-bit levels. [N, 1, H, W] in [0, 1] -> same shape"""
    return 255 * (luma - F.avg_pool2d(luma, 3, stride=1, padding=1, count_include_pad=False))


def luma_of(picture: Tensor) -> Tensor:
    """[3, H, W], RGB -> [1, H, W], by the weights of BT.709."""
    return (picture * picture.new_tensor(LUMA_BT709).view(3, 1, 1)).sum(0, keepdim=True)


def coding_damage(picture: Tensor) -> float | None:
    """How strongly compression has damaged a picture [3, H, W], 0 ... 1. None if a side is below SMALLEST pixels."""
    if min(picture.shape[1:]) < SMALLEST:
        return None
    with torch.inference_mode():
        detail = detail_of(bands(luma_of(picture)))
        inner = detail[..., 1:-1, 1:-1]  # at the border, a slope has some
        if inner.square().mean().sqrt() < EVEN:
            return 0.0
        return float(_shipped()(detail).clamp(0, 1).mean())


@cache
def _shipped() -> CodingDamage:
    network = CodingDamage()
    network.load_state_dict(load_weights(SHIPPED / WEIGHTS).state)
    return network.eval()
