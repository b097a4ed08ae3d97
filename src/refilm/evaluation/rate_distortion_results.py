"""The curves of codecs as files: what was measured, a table, and plots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from refilm.evaluation.plots import Line, plot, write_picture
from refilm.evaluation.rate_distortion import ANCHOR, GOP, Point, figures_of


def write_curves(folder: Path, name: str, curves: Mapping[str, Sequence[Point]]) -> None:
    """Keep the curves of a codec, by clip, in `folder/rd/`, and draw those of all codecs there."""
    target = folder / "rd"
    target.mkdir(parents=True, exist_ok=True)
    plain = {clip: [_rounded(asdict(point)) for point in curve] for clip, curve in curves.items()}
    (target / f"{name}.json").write_text(json.dumps(plain, indent=1) + "\n")
    held = read_curves(folder)
    for figure, title in (("psnr_db", "PSNR of RGB, dB"), ("ms_ssim", "MS-SSIM")):
        lines = [
            Line(points, codec, colour)
            for colour, (codec, found) in enumerate(sorted(held.items()))
            if (points := _mean_curve(found, figure)) is not None
        ]
        if lines:
            write_picture(target / f"{figure}.png", plot(lines, f"{title}, over log2 of bits a pixel", (900, 560)))
    (target / "rd.md").write_text(_table(folder.name, held))


def read_curves(folder: Path) -> dict[str, dict[str, list[Point]]]:
    """By codec and clip."""
    return {
        path.stem: {
            clip: [Point(**entry | {"psnr_by_place": tuple(entry["psnr_by_place"])}) for entry in curve]
            for clip, curve in json.loads(path.read_text()).items()
        }
        for path in sorted((folder / "rd").glob("*.json"))
    }


def _mean_curve(curves: Mapping[str, Sequence[Point]], figure: str) -> np.ndarray | None:
    """Means over clips at each setting. -> [settings, 2]: log2 of bits a pixel, the figure; None if it is lacking"""
    found = list(zip(*curves.values(), strict=True))
    if any(getattr(point, figure) is None for points in found for point in points):
        return None
    return np.array(
        [[np.log2(np.mean([p.bpp for p in points])), np.mean([getattr(p, figure) for p in points])] for points in found]
    )


def _table(name: str, held: Mapping[str, Mapping[str, Sequence[Point]]]) -> str:
    lines = [
        f"# Rate and distortion on `{name}`",
        "",
        f"Written by `refilm eval`: whole files with a key picture each {GOP} frames, means over clips at each",
        f"setting. BD-rate: bits more than {ANCHOR} at equal PSNR, or MS-SSIM, mean over clips.",
        "",
        "| codec | BD-rate, PSNR, % | BD-rate, MS-SSIM, % | encoding, frames/s | decoding, frames/s |",
        "| --- | --- | --- | --- | --- |",
    ]
    anchors = held.get(ANCHOR, {})
    rows = []
    for codec, curves in held.items():
        common = [clip for clip in curves if clip in anchors]
        rates = [figures_of(curves[clip], anchors[clip], (0, 0, 0)) for clip in common]
        measured = [point for curve in curves.values() for point in curve]
        speeds = [float(np.median([getattr(p, key) for p in measured])) for key in ("encode_fps", "decode_fps")]
        found = [[getattr(r, key) for r in rates] for key in ("bd_rate", "bd_rate_ms_ssim")]
        means = [None if not each or None in each else float(np.mean(each)) for each in found]
        cells = [codec, *("-" if mean is None else f"{mean:+.1f}" for mean in means), *(f"{s:.1f}" for s in speeds)]
        rows.append((math.inf if means[0] is None else means[0], "| " + " | ".join(cells) + " |"))
    lines += [row for _, row in sorted(rows, key=lambda entry: entry[0])]
    lines += ["", "![PSNR](psnr_db.png) ![MS-SSIM](ms_ssim.png)", ""]
    lines += ["| codec | setting | bits a pixel | PSNR, dB | MS-SSIM | PSNR from a key picture to the next |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for codec, curves in held.items():
        for points in zip(*curves.values(), strict=True):
            ssim = "-" if points[0].ms_ssim is None else f"{np.mean([p.ms_ssim for p in points]):.4f}"
            by_place = zip(*(point.psnr_by_place for point in points), strict=False)
            places = " ".join(f"{np.mean(values):.1f}" for values in by_place)
            figures = f"{np.mean([p.bpp for p in points]):.4f} | {np.mean([p.psnr_db for p in points]):.2f}"
            lines.append(f"| {codec} | {points[0].setting} | {figures} | {ssim} | {places} |")
    return "\n".join(lines) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return round(value, 5) if isinstance(value, float) else value
