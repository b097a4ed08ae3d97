"""A small network that tells how strongly compression has damaged a picture, from figures of the picture alone.

It decides how much of a restoration is applied, see `refilm.stages.damage`; it is no model of a task. Trained by
`benchmarks/coding_damage.py`, on clean pictures and on such after H.264, HEVC, JPEG and JPEG 2000 of known quality.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from refilm.layers.damage import FIGURES, coding_figures
from refilm.weights import SHIPPED, load_weights

HIDDEN = 12
WEIGHTS = "coding-damage-7ba312fe.safetensors"
SMALLEST = 32  # side in pixels of the smallest picture that can be judged


class CodingDamage(nn.Module):
    """Estimates the strength of deblocking that suits a picture best: 0 for a clean one ... 1 for H.264 at crf 37."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(FIGURES, HIDDEN)
        self.last = nn.Linear(HIDDEN, 1)
        # of the figures on the pictures of the training
        self.register_buffer("mean", torch.zeros(FIGURES))
        self.register_buffer("spread", torch.ones(FIGURES))

    def forward(self, figures: Tensor) -> Tensor:
        """[N, FIGURES] -> [N]; not clamped."""
        usual = ((figures - self.mean) / self.spread).clamp(-3, 3)
        damage: Tensor = self.last(torch.tanh(self.hidden(usual)))[:, 0]
        return damage


def coding_damage(picture: Tensor) -> float | None:
    """How strongly compression has damaged a picture [3, H, W], 0 ... 1. None if a side is below SMALLEST pixels."""
    if min(picture.shape[1:]) < SMALLEST:
        return None
    with torch.inference_mode():
        return float(_shipped()(coding_figures(picture)[None]).clamp(0, 1))


@cache
def _shipped() -> CodingDamage:
    network = CodingDamage()
    network.load_state_dict(load_weights(SHIPPED / WEIGHTS).state)
    return network.eval()
