"""A detector that can be told by arithmetic: it finds what is bright."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from torch import Tensor, nn

from refilm.models import Model
from refilm.models.contract import Detector, Found, check_clip

SIZE = 96, 128


class Brightness(NamedTuple):
    """Where a frame is bright, [N, H, W]."""

    mask: Tensor


class Glow(nn.Module, Detector):
    """The bright part of the middle frame is a lamp; the score says in how many of the three frames there is one."""

    task = "detection"
    reach = None
    window = 3
    labels = ("lamp", "none")
    side = 48

    def see(self, frames: Tensor) -> Brightness:
        return Brightness(frames.mean(dim=1) > 0.5)

    def found_in(self, seen: Sequence[Any], pictures: Sequence[Tensor], least: float) -> Found:
        mask = seen[len(seen) // 2].mask[0]
        rows, columns = (mask.any(dim=axis).nonzero().flatten() for axis in (1, 0))
        score = (1 + sum(bool(each.mask.any()) for each in seen)) / 4
        if not len(rows) or score < least:
            return Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        box = [float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1]
        return Found(torch.tensor([box]), torch.tensor([score]), torch.tensor([0]))

    def forward(self, clip: Tensor, least: float = 0.05) -> list[Found]:
        check_clip(self, clip)
        return [
            self.found_in([self.see(frame[None]) for frame in own.unbind(1)], list(own[None].unbind(2)), least)
            for own in clip
        ]


ROW = Model("detection", lambda: (Glow, None), learned=False)


def write_lamps(path: Path, lefts: Iterable[int | None], top: int = 20, side: int = 24) -> Path:
    """A lossless film of 25 frames a second: a white square at each of these places, on black; None: there is none."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for left in lefts:
            picture = np.zeros((*SIZE, 3), np.uint8)
            if left is not None:
                picture[top : top + side, left : left + side] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    import sys

    from refilm.cli.main import run
    from refilm.models import MODELS

    MODELS["glow"] = ROW
    sys.exit(run([*sys.argv[1:], "--model", "glow"]))
