"""Lean: the plainest interpolator that has something to learn.

Source   none; new frames lie on the straight line between the two, and one number says how far they lean to the later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from refilm.models.contract import Interpolator


@dataclass(frozen=True)
class LeanConfig:
    """lean   what the number is at the start, of the interval's length"""

    lean: float = 0.0


class Lean(nn.Module, Interpolator):
    """A blend of two frames at t + lean * t * (1 - t)."""

    task = "interpolation"
    window, reach = 2, 0

    def __init__(self, config: LeanConfig = LeanConfig()) -> None:
        super().__init__()
        self.config = config
        self.lean = nn.Parameter(torch.tensor(config.lean))

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        first, second = clip.unbind(2)
        shares = [float(time) + self.lean * float(time * (1 - time)) for time in times]
        return torch.stack([torch.lerp(first, second, share) for share in shares], dim=2)
