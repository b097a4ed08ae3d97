"""Strips of frames, for looking at the results beside the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.evaluation.metrics import as_shown


@dataclass(frozen=True)
class Strip:
    """The path of a strip, and the baseline whose result it also shows, as a method; None: it shows no baseline."""

    path: Path
    beside: Any = None


def write_strip(path: Path, pictures: Sequence[Tensor]) -> None:
    """Write frames [3, H, W], RGB in [0, 1], side by side as PNG. Folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = as_shown(torch.cat(tuple(pictures), dim=2)).mul(255).round().byte()  # [3, H, nW]
    # OpenCV keeps colours as B, G, R
    cv2.imwrite(str(path), np.ascontiguousarray(row.permute(1, 2, 0).numpy()[..., ::-1]))
