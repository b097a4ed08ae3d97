"""Which model users get when they name none: the best measured one, read from `results/`, never typed in."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from refilm.errors import RefilmError

PACKAGE = Path(__file__).parent.parent

# the protocol whose mean PSNR ranks the models of a task
RANKED_BY = {
    "interpolation": "interpolation-x2",
    "denoising": "denoising-sigma25",
    "deblocking": "deblocking-h264-crf37",
    "super-resolution": "super-resolution-x4-bi",
}

# how much better a slower model must be than every faster one; less is hardly seen
WORTH_WAITING_DB = 0.5


def results_folder() -> Path:
    """`results/val` of the installed package, or of the source checkout it runs from."""
    installed, checkout = PACKAGE / "results" / "val", PACKAGE.parents[1] / "results" / "val"
    return installed if installed.is_dir() else checkout


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The content of every result file in `folder`, sorted by model."""
    return sorted((json.loads(path.read_text()) for path in folder.glob("*.json")), key=lambda r: r["model"])


def default_model(task: str, folder: Path | None = None) -> str:
    """The model with the best mean PSNR on the validation set of those that are worth waiting for.

    task     a key of RANKED_BY
    folder   where the results lie; `results_folder()` by default

    Baselines are not models, and a model measured with weights that do not ship does not count: nobody could run it.
    Raises ValueError for a task without a ranking, RefilmError where no model has a result.
    """
    if task not in RANKED_BY:
        raise ValueError(f"no ranking for task {task!r}; there is one for: {', '.join(RANKED_BY)}")
    folder = results_folder() if folder is None else folder
    best = default_models(folder).get(task)
    if best is None:
        raise RefilmError(
            f"{folder}: no result of any model under {RANKED_BY[task]}, so there is no default for {task}; name a "
            "model, or measure one with `refilm eval`"
        )
    return best


def default_models(folder: Path) -> dict[str, str]:
    """The default of each task that has one."""
    best: dict[str, str] = {}
    for task, protocol in RANKED_BY.items():
        found = {
            result["model"]: result["protocols"][protocol]
            for result in read_results(folder)
            if not result["baseline"] and _can_run(result["protocols"].get(protocol))
        }
        ranked = sorted(found, key=lambda model: -found[model]["mean"]["psnr_db"])
        for model in ranked:
            if not any(_spares(found[other], found[model]) for other in ranked):
                best[task] = model
                break
    return best


def _spares(other: dict[str, Any], entry: dict[str, Any]) -> bool:
    """Whether `other` is faster, and so good that waiting for `entry` is not worth it."""
    gain = entry["mean"]["psnr_db"] - other["mean"]["psnr_db"]
    return gain < WORTH_WAITING_DB and (other.get("ms_per_frame") or math.inf) < (entry.get("ms_per_frame") or 0)


def _can_run(entry: dict[str, Any] | None) -> bool:
    if entry is None or "absent" in entry:
        return False
    return entry["parameters"] == 0 or bool(entry["weights"] and (PACKAGE / "weights" / entry["weights"]).is_file())
