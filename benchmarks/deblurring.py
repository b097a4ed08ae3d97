"""BIN beside the two cascades that it is meant to replace: python benchmarks/deblurring.py FOLDER

Writes results/bench/deblurring.json and deblurring.md. The cascades use the same network for their deblurring, so it
has the same size and training: "deblur, then flow-blend" interpolates between its sharp frames; "flow-blend, then
deblur" gives it the blurry frames at twice the rate, whose exposures are twice as long for it as they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cyclopts import App
from torch import Tensor

from refilm.evaluation.deblurring import Sharpener, Sharpness, sharpened
from refilm.evaluation.evaluate import find_clips
from refilm.evaluation.protocols import PROTOCOLS
from refilm.evaluation.restorers import as_frames
from refilm.evaluation.results import mean
from refilm.evaluation.stopwatch import Stopwatch
from refilm.models import create_model
from refilm.models.table import weights_name
from refilm.stages.running import Interpolating
from refilm.video import Frame

RESULTS = Path(__file__).parents[1] / "results" / "bench"
NETWORKS = "bin-small", "bin-small-long"
MEASURED = "deblurring-averaged", "deblurring-exact"
CPU = torch.device("cpu")
app = App(help_format="plaintext")


@dataclass(frozen=True)
class Arms:
    """The ways to make sharp frames at twice the rate, each a `Sharpener`."""

    deblurring: Any
    interpolation: Any

    def jointly(self, blurry: Sequence[Frame]) -> Iterator[Tensor]:
        return sharpened(Interpolating(self.deblurring, CPU), blurry, redraws=True)

    def flow_blend(self, blurry: Sequence[Frame]) -> Iterator[Tensor]:
        return sharpened(Interpolating(self.interpolation, CPU), blurry, redraws=False)

    def deblurred_first(self, blurry: Sequence[Frame]) -> Iterator[Tensor]:
        return self.flow_blend(as_film(list(self.jointly(blurry))[::2]))

    def deblurred_last(self, blurry: Sequence[Frame]) -> Iterator[Tensor]:
        yield from list(self.jointly(as_film(list(self.flow_blend(blurry)))))[::2]

    @property
    def named(self) -> dict[str, Sharpener]:
        return {
            "flow-blend alone": self.flow_blend,
            "deblur, then flow-blend": self.deblurred_first,
            "flow-blend, then deblur": self.deblurred_last,
            "jointly": self.jointly,
        }


def as_film(pictures: Sequence[Tensor]) -> list[Frame]:
    return list(as_frames(torch.stack(list(pictures)), range(len(pictures))))


@app.default
def main(data: Path, /, *, clips: int = 100) -> None:
    """Measure, and write the tables."""
    films = find_clips(data)[:clips]
    results: dict[str, Any] = {}
    for model in NETWORKS:
        arms = Arms(create_model(model).eval(), create_model("flow-blend"))
        results[model] = {"weights": weights_name(model, "default")}
        for name in MEASURED:
            results[model][name] = {}
            for arm, sharpener in arms.named.items():
                measure = partial(PROTOCOLS[name].measure, sharpener)
                with torch.inference_mode():
                    figures: list[Sharpness] = [measure(film, Stopwatch()) for film in films]
                results[model][name][arm] = {
                    "redrawn": mean([each.psnr_redrawn_db for each in figures]),
                    "new": mean([each.psnr_new_db for each in figures]),
                }
                print(model, name, arm, results[model][name][arm], flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "deblurring.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "deblurring.md").write_text(table(results))


def table(results: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        "# Deblurring and interpolation, jointly and one after the other",
        "",
        "Written by `benchmarks/deblurring.py`. RGB PSNR in dB, mean over a clip's frames, then over clips, of frames "
        "at the times of the blurry ones (redrawn) and half-way between (new).",
    ]
    for model, rows in results.items():
        for name in MEASURED:
            title = f"## {model} ({rows['weights']}), {name}"
            lines += ["", title, "", "| | redrawn | new |", "| --- | --- | --- |"]
            lines += [f"| {arm} | {row['redrawn']:.2f} | {row['new']:.2f} |" for arm, row in rows[name].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app()
