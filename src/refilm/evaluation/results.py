"""The result files: one JSON file per model and data set, and one table per task and data set, never edited by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from refilm.evaluation.accuracy import recall
from refilm.models.defaults import read_results
from refilm.tasks import TASKS, Figure


@dataclass(frozen=True)
class ClipFigures:
    """The figures of one clip: means over the measured frames.

    frames                number of measured frames
    width, height         of the original frames, after cropping
    warp_error            mean over pairs of neighbouring frames, in 8-bit levels, see `metrics.warp_errors`
    warp_error_of_truth   the same of the original frames
    psnr_rgb_db           PSNR of RGB, if `psnr_db` and `ssim` are of luma
    vmaf, lpips           VMAF, from 0 to 100, and LPIPS, of which less is better, if they were asked for
    """

    frames: int
    width: int
    height: int
    psnr_db: float
    ssim: float
    warp_error: float
    warp_error_of_truth: float
    psnr_rgb_db: float | None = None
    vmaf: float | None = None
    lpips: float | None = None


@dataclass(frozen=True)
class Result:
    """The figures of one model, or baseline, on one data set by one protocol.

    protocol       the protocol's name
    description    the protocol in words
    version        of refilm
    device         what it was measured on, in words
    weights        name of the weight file; None without weights
    parameters     number of learned parameters
    ms_per_frame   median time to make one frame from decoded ones; None if there were too few frames, or if it cannot
                   be measured
    gflop          operations for one frame of the first clip in units of 10^9, a multiply-add counted as two; None
                   without weights
    setting        a baseline's best setting; None if it has none
    clips          figures by the clip's file name: ClipFigures, or another dataclass of `frames`, numbers and words
    overall        figures of all clips together that are no means over clips
    absent         why there are no figures; None if there are
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
    clips: dict[str, Any] = field(default_factory=dict)
    overall: Mapping[str, float] = field(default_factory=dict)
    absent: str | None = None

    def mean(self, name: str) -> float | None:
        """The mean over clips of one of their figures; None if it is None in a clip."""
        values = [getattr(clip, name) for clip in self.clips.values()]
        return None if None in values else mean(values)

    def as_json(self) -> dict[str, Any]:
        """The entry for a result file, in JSON's types, with the means over clips."""
        if self.absent:
            return {"refilm": self.version, "absent": self.absent}
        names = [entry.name for clip in self.clips.values() for entry in fields(clip)]
        figures = [name for name in dict.fromkeys(names) if name not in ("frames", "width", "height")]
        words = [name for name in figures if any(isinstance(getattr(c, name), str) for c in self.clips.values())]
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
                "mean": {name: self.mean(name) for name in figures if name not in words} | dict(self.overall),
                "clips": {name: asdict(clip) for name, clip in self.clips.items()},
            }
        )


def device_name(device: torch.device) -> str:
    """What something was measured on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def write_result(folder: Path, result: Result) -> Path:
    """Write a result to `folder/<model>.json`, which keeps those of other protocols, and renew the task's table."""
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
    """The task that a protocol measures, with which the protocol's name begins."""
    return max((task for task in TASKS if protocol.startswith(f"{task}-")), key=len)


def write_table(folder: Path, task: str) -> Path:
    """Write `folder/<task>.md` from all JSON files in the folder, and return its path."""
    results = read_results(folder)
    names = sorted({name for r in results for name in r["protocols"] if task_of(name) == task})
    lines = [
        f"# {task.replace('-', ' ').capitalize()} on `{folder.name}`",
        "",
        *_HEADS.get(task, _OF_PICTURES),
    ]
    section = {"recognition": _section_of_verdicts, "detection": _section_of_detections}.get(task, _section)
    for name in names:
        rows = {r["model"]: r["protocols"][name] for r in results if name in r["protocols"]}
        lines += section(name, TASKS[task].figure, rows)
    path = folder / f"{task}.md"
    path.write_text("\n".join(lines) + "\n")
    return path


_OF_PICTURES = (
    "Written by `refilm eval` from the JSON files beside it. Warp error: mean absolute difference of neighbouring",
    "frames along the true motion, 8-bit levels; in brackets that of the real frames. Time and GFLOP are for one",
    "frame made; a multiply-add counts as two operations.",
)
_OF_VERDICTS = (
    "Written by `refilm eval` from the JSON files beside it. Balanced: mean over the classes of the share of their",
    "clips that is told right. Frames a second are those that the model is shown, without reading them. GFLOP are for",
    "one clip, all views together; a multiply-add counts as two operations. Which clips are taken for what is in",
    "`confusion`, as tables and as pictures.",
)

_OF_DETECTIONS = (
    "Written by `refilm eval` from the JSON files beside it. mAP50: mean over the classes of the average precision at",
    "an overlap of 0.5; mAP: also over overlaps of 0.5, 0.55 ... 0.95. Slow, medium, fast: mAP50 of the objects that",
    "overlap themselves in the ten frames before and after by more than 0.9, by 0.7 to 0.9, and by less. Frames a",
    "second are those of the stage in a stream.",
)
_HEADS = {"recognition": _OF_VERDICTS, "detection": _OF_DETECTIONS}


def _section_of_detections(name: str, figure: Figure, rows: dict[str, dict[str, Any]]) -> list[str]:
    """The part of a table for one protocol of detection: figures of all films together, and mAP50 of each film."""
    ranked = sorted(rows, key=lambda model: -rows[model]["mean"].get(figure.key, 0.0))
    if not ranked:
        return []
    classes = dict.fromkeys(key for model in ranked for key in rows[model]["mean"] if key.startswith("ap50_"))
    keys = {"map": "mAP, %", "map50_slow": "slow", "map50_medium": "medium", "map50_fast": "fast"}
    keys |= {key: key.removeprefix("ap50_") for key in classes}
    columns = {
        "model": lambda model, row: model,
        figure.title: lambda model, row: figure.shown(row["mean"].get(figure.key)),
        **{
            title: lambda model, row, key=key: figure.shown(row["mean"].get(key))  # type: ignore[misc]
            for key, title in keys.items()
        },
        "frames a second": lambda model, row: _optional(_per_second(row.get("ms_per_frame")), ".1f"),
        "ms": lambda model, row: _optional(row.get("ms_per_frame"), ".1f"),
        "parameters": lambda model, row: f"{row['parameters']:,}",
        "weights": lambda model, row: row["weights"] or "-",
        "on": lambda model, row: row["device"],
    }
    table = [[cell(model, rows[model]) for cell in columns.values()] for model in ranked]
    films = sorted({film for row in rows.values() for film in row["clips"]})
    of_films = [[film, *(_of_clip(figure, rows[model], film) for model in ranked)] for film in films]
    description = rows[ranked[0]]["description"]
    return [
        *("", f"## {name}", "", f"{description[0].upper()}{description[1:]}.", ""),
        *_table(list(columns), table),
        *("", f"{figure.name} of each film, %:", ""),
        *_table(["film", *ranked], of_films),
    ]


def _per_second(ms: float | None) -> float | None:
    return 1000 / ms if ms else None


def _section_of_verdicts(name: str, figure: Figure, rows: dict[str, dict[str, Any]]) -> list[str]:
    """The part of a table for one protocol of recognition: means, and the share of each class that is told right."""
    ranked = sorted(rows, key=lambda model: -figure.goodness(rows[model]["mean"]))
    if not ranked:
        return []
    columns = {
        "model": lambda model, row: model,
        figure.title: lambda model, row: figure.shown(row["mean"][figure.key]),
        "top-5, %": lambda model, row: figure.shown(row["mean"]["top5"]),
        "balanced, %": lambda model, row: figure.shown(row["mean"]["balanced"]),
        "clips": lambda model, row: str(len(row["clips"])),
        "folds": lambda model, row: " ".join(sorted({clip["fold"] for clip in row["clips"].values()}, key=_in_order)),
        "frames a second": lambda model, row: _rate(row.get("ms_per_frame")),
        "GFLOP": lambda model, row: _optional(row.get("gflop"), ".1f"),
        "parameters": lambda model, row: f"{row['parameters']:,}",
        "weights or setting": lambda model, row: row["weights"] or row.get("setting") or "-",
        "on": lambda model, row: row["device"],
    }
    table = [[cell(model, rows[model]) for cell in columns.values()] for model in ranked]
    clips = {model: list(rows[model]["clips"].values()) for model in ranked}
    recalls = {m: recall([c["top1"] for c in found], [c["label"] for c in found]) for m, found in clips.items()}
    labels = sorted({label for found in recalls.values() for label in found})
    shares = [[label, *(figure.shown(recalls[model].get(label)) for model in ranked)] for label in labels]
    description = rows[ranked[0]]["description"]
    return [
        *("", f"## {name}", "", f"{description[0].upper()}{description[1:]}.", ""),
        *_table(list(columns), table),
        *("", "Clips of each class that are told right, %:", ""),
        *_table(["class", *ranked], shares),
    ]


def _in_order(fold: str) -> tuple[int, str]:
    return len(fold), fold


def _rate(ms: float | None) -> str:
    return "-" if not ms else f"{1000 / ms:.0f}"


def _section(name: str, figure: Figure, rows: dict[str, dict[str, Any]]) -> list[str]:
    """The part of a table for one protocol: means, missing results, and the ranking figure of each clip."""
    measured = {model: row for model, row in rows.items() if "absent" not in row}
    if not measured:
        return []
    ranked = sorted(measured, key=lambda model: -figure.goodness(measured[model]["mean"]))
    first = measured[ranked[0]]
    columns = {
        "model": lambda model, row: model,
        figure.title: lambda model, row: figure.shown(row["mean"].get(figure.key)),
        "SSIM": lambda model, row: _optional(row["mean"].get("ssim"), ".4f"),
        "PSNR of RGB": lambda model, row: _optional(row["mean"].get("psnr_rgb_db"), ".2f"),
        "PSNR of redrawn frames": lambda model, row: _optional(row["mean"].get("psnr_redrawn_db"), ".2f"),
        "PSNR of new frames": lambda model, row: _optional(row["mean"].get("psnr_new_db"), ".2f"),
        "VMAF": lambda model, row: _optional(row["mean"].get("vmaf"), ".2f"),
        "LPIPS": lambda model, row: _optional(row["mean"].get("lpips"), ".4f"),
        f"warp error ({_optional(first['mean'].get('warp_error_of_truth'), '.2f')})": lambda model, row: _optional(
            row["mean"].get("warp_error"), ".2f"
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
        *("", f"{figure.name} of each clip{figure.unit and ', '}{figure.unit}:", ""),
        *_table(["clip", *ranked], [[clip, *(_of_clip(figure, measured[m], clip) for m in ranked)] for clip in clips]),
    ]


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _of_clip(figure: Figure, row: dict[str, Any], clip: str) -> str:
    return figure.shown(row["clips"].get(clip, {}).get(figure.key))


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def _tidied(value: Any) -> Any:
    """Round floats to four digits, so that a file changes only where a figure does, and leave out fields of None."""
    if isinstance(value, dict):
        kept = ("weights", "ms_per_frame")  # fields in which None has a meaning
        return {key: _tidied(entry) for key, entry in value.items() if entry is not None or key in kept}
    return round(value, 4) if isinstance(value, float) else value
