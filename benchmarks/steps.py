"""The memory that each step of each model takes, on the CPU: the figures by which jobs are planned.

python benchmarks/steps.py                                     # writes results/memory/steps.json
python benchmarks/steps.py --only vsr                          # only the models whose names contain this
python benchmarks/steps.py one flow-blend "in bands" 960 544   # prints the bytes of one step on one picture

Each figure is the peak of the resident memory in a process of its own, so that all that a step allocates is counted and
nothing of another one. The pictures look the same in each run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from cyclopts import App

from refilm.layers.temporal_filter import TemporalFilter
from refilm.models import create_model
from refilm.models.table import MODELS
from refilm.stages.demand import peak_of
from refilm.stages.steps import FILTER, Step, bytes_seen, filter_steps, interpolator_steps, restorer_steps
from refilm.tasks import TASKS

RESULTS = Path(__file__).parents[1] / "results" / "memory" / "steps.json"
# (width, height) of pictures, multiples of what every model demands. The third is the largest in which motion is
# searched at full size, see `refilm.layers.optical_flow`.
SIZES = (960, 544), (1920, 1088), (2688, 1536), (3840, 2176)
SIZES_OF_NETWORKS = (192, 192), (480, 272), (960, 544), (1920, 1088)
app = App(help_format="plaintext")


@app.default
def main(*, only: str = "") -> None:
    """Measure, and write the figures."""
    found = json.loads(RESULTS.read_text())["steps"] if only and RESULTS.exists() else {}
    owners = [name for name, row in MODELS.items() if row.runs_as_shipped] + [FILTER]
    for owner in owners:
        if only not in owner:
            continue
        found[owner] = {}
        for step in steps_of(owner):
            sizes = SIZES_OF_NETWORKS if step.name.startswith(("network", "between")) else SIZES
            if step.name == "in bands":
                sizes = sizes[:2]  # no band is larger
            found[owner][step.name] = [(w * h, round(_in_another_process(owner, step.name, w, h))) for w, h in sizes]
            print(owner, step.name, found[owner][step.name], flush=True)
        if "in bands" in found[owner] and owner != FILTER:
            found[owner]["seen"] = [(1, bytes_seen(create_model(owner)))]
        _write(found)


@app.command
def one(owner: str, step: str, width: int, height: int) -> None:
    """Print the bytes that one step takes on a picture of this size."""
    (found,) = (candidate for candidate in steps_of(owner) if candidate.name == step)
    print(peak_of(lambda: found.given(width, height), found.run, torch.device("cpu"), runs=2))


def steps_of(owner: str) -> list[Step]:
    if owner == FILTER:
        return filter_steps(TemporalFilter())
    model = create_model(owner)
    if TASKS[MODELS[owner].task].retimes:
        counts = (1, 2, 3) if model.band_pixels(1) is None else (1,)
        return [step for count in counts for step in interpolator_steps(model, count)]
    return restorer_steps(model, {})


def _write(found: dict[str, dict[str, list[tuple[int, float]]]]) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    about = f"pixels and bytes, by python benchmarks/steps.py on {os.cpu_count()} cores with torch {torch.__version__}"
    RESULTS.write_text(json.dumps({"about": about, "steps": found}, indent=1) + "\n")


def _in_another_process(*arguments: object) -> float:
    command = [sys.executable, __file__, "one", *map(str, arguments)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    app()
