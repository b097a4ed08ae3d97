"""The files that hold figures: one JSON a model and set, one table a task. Written here, never by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from refilm.evaluation.protocols import PROTOCOLS
from refilm.models.defaults import read_results


@dataclass(frozen=True)
class ClipFigures:
    """Means over the new frames of one clip; the warp errors are over all pairs of neighbours, in 8-bit levels."""

    frames: int
    width: int
    height: int
    psnr_db: float
    ssim: float
    warp_error: float
    warp_error_of_truth: float


@dataclass(frozen=True)
class Result:
    """One model on one set under one protocol.

    weights        name of the weight file; None where there are none
    parameters     how many numbers the model has learned
    ms_per_frame   time to make one new frame from decoded neighbours on `device`; None if too few to tell
    absent         why there are no figures; None where there are
    """

    model: str
    protocol: str
    version: str
    device: str
    is_baseline: bool = False
    weights: str | None = None
    parameters: int = 0
    ms_per_frame: float | None = None
    clips: dict[str, ClipFigures] = field(default_factory=dict)
    absent: str | None = None

    def mean(self, name: str) -> float:
        """The mean over clips of a field of ClipFigures."""
        return sum(getattr(clip, name) for clip in self.clips.values()) / len(self.clips)

    def as_json(self) -> dict[str, Any]:
        if self.absent:
            return {"refilm": self.version, "absent": self.absent}
        figures = ("psnr_db", "ssim", "warp_error", "warp_error_of_truth")
        return _rounded(
            {
                "description": PROTOCOLS[self.protocol].description,
                "refilm": self.version,
                "weights": self.weights,
                "parameters": self.parameters,
                "device": self.device,
                "ms_per_frame": self.ms_per_frame,
                "mean": {name: self.mean(name) for name in figures},
                "clips": {name: asdict(clip) for name, clip in self.clips.items()},
            }
        )


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
    write_table(folder)
    return path


def write_table(folder: Path) -> Path:
    """Renew `folder/interpolation.md` from all the JSON files beside it."""
    results = read_results(folder)
    lines = [
        f"# Interpolation on `{folder.name}`",
        "",
        "Written by `refilm eval` from the JSON files beside it. Warp error: mean absolute difference of neighbouring",
        "frames along the true motion, 8-bit levels; in brackets that of the real frames. Time is for one new frame.",
    ]
    for name, protocol in PROTOCOLS.items():
        rows = {r["model"]: r["protocols"][name] for r in results if name in r["protocols"]}
        measured = {model: row for model, row in rows.items() if "absent" not in row}
        if not measured:
            continue
        ranked = sorted(measured, key=lambda model: -measured[model]["mean"]["psnr_db"])
        floor = measured[ranked[0]]["mean"]["warp_error_of_truth"]
        lines += ["", f"## {name}", "", f"{protocol.description[0].upper()}{protocol.description[1:]}.", ""]
        lines += _table(
            ["model", "PSNR, dB", "SSIM", f"warp error ({floor:.2f})", "ms", "parameters", "weights", "on"],
            [
                [
                    model,
                    f"{row['mean']['psnr_db']:.2f}",
                    f"{row['mean']['ssim']:.4f}",
                    f"{row['mean']['warp_error']:.2f}",
                    "-" if row["ms_per_frame"] is None else f"{row['ms_per_frame']:.1f}",
                    f"{row['parameters']:,}",
                    row["weights"] or "-",
                    row["device"],
                ]
                for model, row in ((model, measured[model]) for model in ranked)
            ],
        )
        lines += [f"\n{model}: absent, {row['absent']}." for model, row in rows.items() if "absent" in row]
        clips = sorted({clip for row in measured.values() for clip in row["clips"]})
        lines += ["", "PSNR of each clip, dB:", ""]
        lines += _table(
            ["clip", *ranked],
            [[clip, *(_clip_psnr(measured[model], clip) for model in ranked)] for clip in clips],
        )
    path = folder / "interpolation.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def _clip_psnr(row: dict[str, Any], clip: str) -> str:
    return f"{row['clips'][clip]['psnr_db']:.2f}" if clip in row["clips"] else "-"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def _rounded(value: Any) -> Any:
    """Floats to four digits, so that a file changes only where a figure does."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return round(value, 4) if isinstance(value, float) else value
