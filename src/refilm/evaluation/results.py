"""The files that hold figures: one JSON a model and set, one table a task. Written here, never by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from refilm.models.defaults import read_results
from refilm.tasks import TASKS


@dataclass(frozen=True)
class ClipFigures:
    """Means over the measured frames of one clip; the warp errors are over pairs of neighbours, in 8-bit levels.

    psnr_rgb_db   where PSNR and SSIM are of something else than RGB
    """

    frames: int
    width: int
    height: int
    psnr_db: float
    ssim: float
    warp_error: float
    warp_error_of_truth: float
    psnr_rgb_db: float | None = None


@dataclass(frozen=True)
class Result:
    """One model on one set under one protocol.

    description    the protocol's, in words
    weights        name of the weight file; None where there are none
    parameters     how many numbers the model has learned
    ms_per_frame   time to make one frame from decoded ones on `device`; None if too few to tell, or not to be told
    gflop          what one frame of the first clip's size costs a model, a multiply-add counted as two; None for others
    setting        a baseline's best one, where there are several
    absent         why there are no figures; None where there are
    """

    model: str
    protocol: str
    description: str
    version: str
    device: str
    is_baseline: bool = False
    weights: str | None = None
    parameters: int = 0
    ms_per_frame: float | None = None
    gflop: float | None = None
    setting: str | None = None
    clips: dict[str, ClipFigures] = field(default_factory=dict)
    absent: str | None = None

    def mean(self, name: str) -> float | None:
        """The mean over clips of a field of ClipFigures; None where they lack it."""
        values = [getattr(clip, name) for clip in self.clips.values()]
        return None if None in values else mean(values)

    def as_json(self) -> dict[str, Any]:
        if self.absent:
            return {"refilm": self.version, "absent": self.absent}
        figures = ("psnr_db", "ssim", "warp_error", "warp_error_of_truth", "psnr_rgb_db")
        return _tidied(
            {
                "description": self.description,
                "refilm": self.version,
                "weights": self.weights,
                "parameters": self.parameters,
                "device": self.device,
                "ms_per_frame": self.ms_per_frame,
                "gflop": self.gflop,
                "setting": self.setting,
                "mean": {name: self.mean(name) for name in figures},
                "clips": {name: asdict(clip) for name, clip in self.clips.items()},
            }
        )


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def write_result(folder: Path, result: Result) -> Path:
    """Put a result into `folder/<model>.json`, beside what that file holds for other protocols, and renew the table."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.model}.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    protocols = held.get("protocols", {}) | {result.protocol: result.as_json()}
    content = {
        "model": result.model,
        "set": folder.name,
        "baseline": result.is_baseline,
        "protocols": dict(sorted(protocols.items())),
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    write_table(folder, task_of(result.protocol))
    return path


def task_of(protocol: str) -> str:
    """The task a protocol measures; its name begins with it."""
    return next(task for task in TASKS if protocol.startswith(f"{task}-"))


def write_table(folder: Path, task: str) -> Path:
    """Renew `folder/<task>.md` from all the JSON files beside it."""
    results = read_results(folder)
    names = sorted({name for r in results for name in r["protocols"] if task_of(name) == task})
    lines = [
        f"# {task.replace('-', ' ').capitalize()} on `{folder.name}`",
        "",
        "Written by `refilm eval` from the JSON files beside it. Warp error: mean absolute difference of neighbouring",
        "frames along the true motion, 8-bit levels; in brackets that of the real frames. Time and GFLOP are for one",
        "frame made; a multiply-add counts as two operations.",
    ]
    for name in names:
        lines += _section(name, {r["model"]: r["protocols"][name] for r in results if name in r["protocols"]})
    path = folder / f"{task}.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def _section(name: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    """One protocol's part of a table: means, what is absent, clip by clip."""
    measured = {model: row for model, row in rows.items() if "absent" not in row}
    if not measured:
        return []
    ranked = sorted(measured, key=lambda model: -measured[model]["mean"]["psnr_db"])
    first = measured[ranked[0]]
    columns = {
        "model": lambda model, row: model,
        "PSNR, dB": lambda model, row: f"{row['mean']['psnr_db']:.2f}",
        "SSIM": lambda model, row: f"{row['mean']['ssim']:.4f}",
        "PSNR of RGB": lambda model, row: _optional(row["mean"].get("psnr_rgb_db"), ".2f"),
        f"warp error ({first['mean']['warp_error_of_truth']:.2f})": lambda model, row: (
            f"{row['mean']['warp_error']:.2f}"
        ),
        "ms": lambda model, row: _optional(row.get("ms_per_frame"), ".1f"),
        "GFLOP": lambda model, row: _optional(row.get("gflop"), ".1f"),
        "parameters": lambda model, row: f"{row['parameters']:,}",
        "weights or setting": lambda model, row: row["weights"] or row.get("setting") or "-",
        "on": lambda model, row: row["device"],
    }
    cells = {title: [cell(model, measured[model]) for model in ranked] for title, cell in columns.items()}
    shown = [title for title, column in cells.items() if title == "ms" or set(column) != {"-"}]
    clips = sorted({clip for row in measured.values() for clip in row["clips"]})
    return [
        *("", f"## {name}", "", f"{first['description'][0].upper()}{first['description'][1:]}.", ""),
        *_table(shown, [[cells[title][i] for title in shown] for i in range(len(ranked))]),
        *(f"\n{model}: absent, {row['absent']}." for model, row in rows.items() if "absent" in row),
        *("", "PSNR of each clip, dB:", ""),
        *_table(["clip", *ranked], [[clip, *(_clip_psnr(measured[m], clip) for m in ranked)] for clip in clips]),
    ]


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _clip_psnr(row: dict[str, Any], clip: str) -> str:
    return f"{row['clips'][clip]['psnr_db']:.2f}" if clip in row["clips"] else "-"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def _tidied(value: Any) -> Any:
    """Floats to four digits, so that a file changes only where a figure does; what there is to say and nothing else."""
    if isinstance(value, dict):
        kept = ("weights", "ms_per_frame")  # None says something there
        return {key: _tidied(entry) for key, entry in value.items() if entry is not None or key in kept}
    return round(value, 4) if isinstance(value, float) else value
