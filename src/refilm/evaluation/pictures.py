"""Pictures to look at beside the figures."""

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
    """Where a strip goes, and the method whose result stands beside the measured one's, if the protocol shows one."""

    path: Path
    beside: Any = None


def write_strip(path: Path, pictures: Sequence[Tensor]) -> None:
    """Frames [3, H, W] side by side, as PNG; the order is the caller's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = as_shown(torch.cat(tuple(pictures), dim=2)).mul(255).round().byte()  # [3, H, nW]
    # OpenCV keeps colours as B, G, R
    cv2.imwrite(str(path), np.ascontiguousarray(row.permute(1, 2, 0).numpy()[..., ::-1]))
