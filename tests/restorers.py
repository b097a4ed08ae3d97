"""Restoration models whose results can be told by arithmetic, and the command with them in its table.

`python -m restorers denoise IN OUT ...` is `refilm denoise IN OUT ...` with these.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refilm.models import MODELS, Model, defaults
from refilm.models.contract import Restorer
from refilm.tasks import TASKS


class Soften(nn.Module, Restorer):
    """Mixes the centre frame with the mean of its neighbourhood, 5x5 pixels in three frames."""

    task = "denoising"
    window, scale, size_multiple, reach = 3, 1, 4, 2
    temporal_filter = None

    def forward(self, clip: Tensor, sigma_8bit: float | None = None) -> Tensor:
        mean = F.avg_pool2d(clip.mean(dim=2), 5, 1, 2, count_include_pad=False)
        return torch.lerp(clip[:, :, 1], mean, 0.5 if sigma_8bit is None else sigma_8bit / 255)


class Steady(nn.Module, Restorer):
    """The mean of five frames, whose brightness is first brought to the centre's over the whole picture."""

    task = "deblocking"
    window, scale, size_multiple, reach = 5, 1, 1, 0
    temporal_filter = None

    def prepare(self, clip: Tensor) -> Tensor:
        means = clip.mean(dim=(3, 4), keepdim=True)
        return clip - means + means[:, :, 2:3]

    def network(self, prepared: Tensor) -> Tensor:
        return prepared.mean(dim=2)

    def forward(self, clip: Tensor) -> Tensor:
        return self.network(self.prepare(clip))


class Double(nn.Module, Restorer):
    """Twice the size, by linear interpolation."""

    task = "super-resolution"
    window, scale, size_multiple, reach = 3, 2, 1, 1
    temporal_filter = None

    def forward(self, clip: Tensor) -> Tensor:
        return F.interpolate(clip[:, :, 1], scale_factor=2, mode="bilinear")


RESTORERS = {"soften": Soften, "steady": Steady, "double": Double}


def row(build: type) -> Model:
    """The row of a classical method."""
    return Model(build.task, lambda: (build, None), learned=False)


def write_results(folder: Path) -> Path:
    """Figures that make them, and flow-blend, the defaults."""
    for name, build in ({"flow-blend": MODELS["flow-blend"].parts()[0]} | RESTORERS).items():
        entry = {"mean": {"psnr_db": 99.0}, "parameters": 0, "weights": None}
        result = {"model": name, "baseline": False, "protocols": {TASKS[build.task].protocol: entry}}
        (folder / f"{name}.json").write_text(json.dumps(result))
    return folder


def quick_segments(patch: pytest.MonkeyPatch) -> None:
    """Make segments as long as on an idle machine, however busy this one is."""
    from refilm.jobs import planning

    patch.setattr(planning, "stage_seconds", lambda *_: 0.01)
    patch.setattr(planning, "encoder_seconds", lambda *_: 0.0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        results = write_results(Path(folder))
        defaults.results_folder = lambda: results
        MODELS.update({name: row(build) for name, build in RESTORERS.items()})
        from refilm.cli.main import main

        quick_segments(pytest.MonkeyPatch())
        main(sys.argv[1:])
