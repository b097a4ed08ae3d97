"""A recogniser that can be told by arithmetic: how bright a clip is."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from refilm.models import Model
from refilm.models.contract import Recognizer, Sampling, check_clip

LABELS = ("dark", "gray", "bright")
# The means at which it is surest, in [0, 1].
CENTRES = (0.0, 0.5, 1.0)


class Shade(nn.Module, Recognizer):
    """The nearer the mean of a clip is to the centre of a class, the likelier is that. It has no weights."""

    task = "recognition"
    reach = None
    labels = LABELS
    sampling = Sampling(segments=3, snippet=2, rate=Fraction(10), height=8, width=12, seconds=Fraction(1))

    def forward(self, clip: Tensor) -> Tensor:
        check_clip(self, clip)
        return -20 * (clip.mean(dim=(1, 2, 3, 4))[:, None] - torch.tensor(CENTRES)).abs()

    def activation(self, clip: Tensor) -> Tensor:
        """How near each quarter of each frame is to each class."""
        means = clip.unflatten(3, (2, -1)).unflatten(5, (2, -1)).mean(dim=(1, 4, 6))  # [N, T, 2, 2]
        return -20 * (means[:, None] - torch.tensor(CENTRES).view(1, 3, 1, 1, 1)).abs()


ROW = Model("recognition", lambda: (Shade, None), learned=False)


if __name__ == "__main__":
    import sys

    from refilm.cli.main import run
    from refilm.models import MODELS

    MODELS["shade"] = ROW
    sys.exit(run([*sys.argv[1:], "--model", "shade"]))
