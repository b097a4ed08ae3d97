"""The default model of each task, chosen by the figures in `results/`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from refilm.errors import UsageError
from refilm.models.table import MODELS
from refilm.tasks import TASKS, Task

PACKAGE = Path(__file__).parent.parent


def results_folder() -> Path:
    """`results/val` of the installed package, or of the source checkout it runs from."""
    installed, checkout = PACKAGE / "results" / "val", PACKAGE.parents[1] / "results" / "val"
    return installed if installed.is_dir() else checkout


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The content of every result file in `folder`, sorted by model."""
    return sorted((json.loads(path.read_text()) for path in folder.glob("*.json")), key=lambda r: r["model"])


def default_model(task: str, folder: Path | None = None, lossless: bool = False) -> str:
    """The name of the model that a task uses if the user names none.

    It is the best by the task's figure on the validation set, but a model is passed over if a faster one is worse by
    less than `Task.worth_waiting`. Baselines do not count, nor do models measured with weights that do not ship. Of a
    task whose models are for different things, it is the one that its row names, if its weights ship.

    task      a key of `refilm.tasks.TASKS`, whose row names the protocol and the figure
    folder    the folder of the result files; `results_folder()` by default
    lossless  whether the source is stored without loss: then it is `Task.of_lossless`, if that has a result

    Raises ValueError for an unknown task, UsageError if no model has a result.
    """
    if task not in TASKS:
        raise ValueError(f"no task is called {task!r}; there are: {', '.join(TASKS)}")
    folder = results_folder() if folder is None else folder
    if lossless and any(
        result["model"] == TASKS[task].of_lossless and _can_run(result["protocols"].get(TASKS[task].protocol))
        for result in read_results(folder)
    ):
        return TASKS[task].of_lossless
    best = default_models(folder).get(task)
    if best is None:
        raise UsageError(
            f"no model has a result for {TASKS[task].protocol} in {folder}, so there is no default for {task}; name a "
            "model, or measure one with `refilm eval`"
        )
    return best


def default_models(folder: Path) -> dict[str, str]:
    """The default model of each task that has one, by the name of the task."""
    results = [result for result in read_results(folder) if not result["baseline"]]
    best: dict[str, str] = {}
    for task in TASKS.values():
        if task.default:
            if MODELS[task.default].weights:
                best[task.name] = task.default
            continue
        measured = {result["model"]: result["protocols"].get(task.protocol) for result in results}
        found = {model: entry for model, entry in measured.items() if _can_run(entry)}
        ranked = sorted(found, key=lambda model: -task.figure.goodness(found[model]["mean"]))
        for model in ranked:
            if not any(_spares(task, found[other], found[model]) for other in ranked):
                best[task.name] = model
                break
    return best


def _spares(task: Task, other: dict[str, Any], entry: dict[str, Any]) -> bool:
    """Whether `other` is faster than `entry`, and `entry` better by less than `worth_waiting`."""
    gain = task.figure.goodness(entry["mean"]) - task.figure.goodness(other["mean"])
    return gain < task.worth_waiting and (other.get("ms_per_frame") or math.inf) < (entry.get("ms_per_frame") or 0)


def _can_run(entry: dict[str, Any] | None) -> bool:
    if entry is None or "absent" in entry:
        return False
    return entry["parameters"] == 0 or bool(entry["weights"] and (PACKAGE / "weights" / entry["weights"]).is_file())
