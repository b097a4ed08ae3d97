"""How well scene cuts are found: joins of unrelated clips against all neighbouring frames within clips.

    python benchmarks/scene_cuts.py FOLDER [FOLDER ...] [--joins 300] [--out results/bench/scene_cuts.md]

A folder holds clips of one scene each and an index.json that names the source of each; two clips are joined only if
their sources differ. Neighbours are also taken 2 and 4 frames apart, which is what low frame rates and fast motion
look like. Prints the table and writes it with --out.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from refilm.stages.scene_cuts import SceneCuts, Thumbnail, content_change, thumbnail
from refilm.video import frames

# Cuts that the clips' maker overlooked, found by eye among the alarms: folder/file and the frame that starts a scene.
OVERLOOKED = {("train-0/0196.mp4", 22), ("train-1/0041.mp4", 16), ("val/0097.mp4", 20)}
STEPS = (1, 2, 4)

DETECTORS: dict[str, Callable[[Thumbnail, Thumbnail], bool]] = {
    "content change >= 27 (PySceneDetect's default)": lambda a, b: content_change(a, b) >= 27,
    "content change >= 39": lambda a, b: content_change(a, b) >= 39,
    "refilm": SceneCuts().is_cut,
}


@dataclass
class Clip:
    name: str
    source: str
    thumbnails: list[Thumbnail]


def read_clips(folder: Path) -> tuple[list[Clip], list[float]]:
    """The clips of a folder, and what reducing each frame took, in ms."""
    index = json.loads((folder / "index.json").read_text())
    clips, times = [], []
    for entry in index["clips"] if isinstance(index, dict) else index:
        thumbnails = []
        for frame in frames(folder / entry["file"]):
            start = time.perf_counter()
            thumbnails.append(thumbnail(frame))
            times.append(1000 * (time.perf_counter() - start))
        clips.append(Clip(f"{folder.name}/{entry['file']}", entry["source"], thumbnails))
    return clips, times


def neighbours(clips: list[Clip], step: int) -> list[tuple[Thumbnail, Thumbnail]]:
    return [
        (clip.thumbnails[i], clip.thumbnails[i + step])
        for clip in clips
        for i in range(0, len(clip.thumbnails) - step, step)
        if not any((clip.name, cut) in OVERLOOKED for cut in range(i + 1, i + step + 1))
    ]


def joins(clips: list[Clip], count: int) -> list[tuple[Thumbnail, Thumbnail]]:
    """The last frame of one clip and the first of another, of different sources."""
    pick = random.Random(0)
    pairs = [(a, b) for a in clips for b in clips if a.source != b.source]
    return [(a.thumbnails[-1], b.thumbnails[0]) for a, b in pick.sample(pairs, min(count, len(pairs)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--joins", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    lines = [
        "# Scene cuts",
        "",
        "Written by `benchmarks/scene_cuts.py`. Cuts: joins of clips of different sources. Continuations: neighbouring",
        "frames within clips, `step` frames apart; what the detector calls a cut there is a false alarm.",
        "refilm's threshold was chosen on train-0 and train-1, for the fewest missed cuts; val had no part in it.",
        "Precision depends on how many of each are shown; in a film, cuts are rarer.",
        "",
        "| clips | step | detector | cuts | missed | continuations | false alarms | recall | precision |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    durations: list[float] = []
    for folder in options.folders:
        clips, times = read_clips(folder)
        durations += times
        cuts = joins(clips, options.joins)
        for step in STEPS:
            continuations = neighbours(clips, step)
            for name, is_cut in DETECTORS.items():
                found = sum(is_cut(a, b) for a, b in cuts)
                alarms = sum(is_cut(a, b) for a, b in continuations)
                figures = f"{len(cuts)} | {len(cuts) - found} | {len(continuations)} | {alarms}"
                rates = f"{found / len(cuts):.4f} | {found / max(found + alarms, 1):.4f}"
                lines.append(f"| {folder.name} | {step} | {name} | {figures} | {rates} |")
    lines += ["", f"Reducing a frame for the comparison: median {statistics.median(durations):.2f} ms.", ""]
    report = "\n".join(lines)
    print(report)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(report)


if __name__ == "__main__":
    main()
