"""How well scene cuts are found: joins of clips against frames that belong together, under several conditions.

    python benchmarks/scene_cuts.py FOLDER [FOLDER ...] [--joins 120] [--out results/bench/scene_cuts.md]

A folder holds clips of one scene each and an index.json that names the source of each. Prints the tables and writes
them with --out. The conditions are explained in the file that is written.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from refilm.stages.scene_cuts import SIZE, SceneCuts, Thumbnail, colour_difference, layout, residual, thumbnail
from refilm.video import Frame, frames

# Cuts that the clips' maker overlooked, found by eye among the alarms: folder/file and the frame that starts a scene.
OVERLOOKED = {
    "train-0/0196.mp4": 22,
    "train-1/0041.mp4": 16,
    "val/0097.mp4": 20,
    "train-1/0235.mp4": 15,
    "train-0/0065.mp4": 21,
    "train-0/0311.mp4": 16,
}
CONTEXT = 4  # frames on each side of a join that the detectors are shown
DISSOLVE = 12  # frames of a crossfade

HEAD = f"""# Scene cuts

Written by `benchmarks/scene_cuts.py`. Cuts are joins of clips, continuations all neighbouring frames within clips; what
a detector calls a cut there is a false alarm. "Before" is refilm's former detector: fixed thresholds on two frames.
Thresholds were chosen on these clips, so figures on other films may be lower. Precision depends on how many of each are
shown; in a film, cuts are rarer.

- **1 frame of 2, of 4**: what low frame rates and fast motion look like.
- **gain 0.35, 0.2**: dim; luma above black and chroma are multiplied, and rounded to 8 bits again.
- **log**: low contrast; luma times 0.3 around a gray, as in flat footage, and chroma times 0.3.
- **one set**: cuts between clips of the same source, and cuts to a closer shot (the clip itself, enlarged 1.6 x). Some
  of the former are continuations of the same shot, which nobody would call a cut.
- **flash**: the sixth of ten frames is far brighter, and clipped.
- **crossfade**: {DISSOLVE} frames in which one clip turns into another.
"""


class Clip(NamedTuple):
    name: str
    source: str
    frames: list[Frame]


Frames = Sequence[Frame]
Detector = Callable[[list[Thumbnail]], list[bool]]


def content_change(before: Thumbnail, after: Thumbnail) -> float:
    """PySceneDetect's content_val (ContentDetector, version 0.7, weights 1, 1, 1, 0), on reduced frames.

    The mean of |dH|, |dS| and |dV| over the frame, in codes of 8-bit HSV. As there, the difference of hues does not
    take into account that hue is periodic.
    """
    first, second = (cv2.cvtColor(t.rgb, cv2.COLOR_RGB2HSV) for t in (before, after))
    return cv2.norm(first, second, cv2.NORM_L1) / first.size


def fixed(before: Thumbnail, after: Thumbnail) -> bool:
    if content_change(before, after) < 15:
        return False
    colours = colour_difference(before.rgb, after.rgb)
    return residual(before.luma, after.luma) * colours * (1 - layout(before.luma, after.luma)) >= 2.5


def by_pairs(is_cut: Callable[[Thumbnail, Thumbnail], bool]) -> Detector:
    return lambda thumbnails: [False, *(is_cut(a, b) for a, b in pairwise(thumbnails))]


DETECTORS: dict[str, Detector] = {
    "PySceneDetect, 27": by_pairs(lambda a, b: content_change(a, b) >= 27),
    "before": by_pairs(fixed),
    "refilm": lambda thumbnails: list(SceneCuts().verdicts(thumbnails)),
}


def read_clips(folder: Path) -> tuple[list[Clip], list[float]]:
    """The clips of a folder in frames of SIZE, and what reducing each frame for the detector took, in ms."""
    index = json.loads((folder / "index.json").read_text())
    clips, times = [], []
    for entry in index["clips"] if isinstance(index, dict) else index:
        name, reduced = f"{folder.name}/{entry['file']}", []
        for frame in frames(folder / entry["file"]):
            start = time.perf_counter()
            thumbnail(frame)
            times.append(1000 * (time.perf_counter() - start))
            planes = tuple(cv2.resize(plane, SIZE, interpolation=cv2.INTER_AREA) for plane in frame.planes)
            reduced.append(replace(frame, planes=planes, format=replace(frame.format, chroma_w=0, chroma_h=0)))
        cut = OVERLOOKED.get(name, 0)
        clips += [Clip(name, entry["source"], part) for part in (reduced[:cut], reduced[cut:]) if part]
    return clips, times


def scaled(frame: Frame, gain: float, black: float = 16, offset: float = 0) -> Frame:
    """Luma times `gain` around `black`, plus `offset`; chroma times `gain`; 8 bits."""
    luma, *chroma = frame.planes
    planes = [(luma.astype(np.float32) - black) * gain + black + offset]
    planes += [(plane.astype(np.float32) - 128) * gain + 128 for plane in chroma]
    return replace(frame, planes=tuple(plane.round().clip(0, 255).astype(np.uint8) for plane in planes))


def flash(frame: Frame) -> Frame:
    luma, *chroma = frame.planes
    bright = ((luma.astype(np.float32) - 16) * 1.5 + 66).clip(0, 255).astype(np.uint8)
    return replace(frame, planes=(bright, *chroma))


def closer(frame: Frame) -> Frame:
    left, top, right, bottom = SIZE[0] * 5 // 16, SIZE[1] // 9, SIZE[0] * 15 // 16, SIZE[1] * 13 // 18
    return replace(frame, planes=tuple(cv2.resize(plane[top:bottom, left:right], SIZE) for plane in frame.planes))


def crossfade(first: Frames, second: Frames) -> Frames:
    """The last frames of one clip turn into the first of another."""
    weights = np.linspace(0, 1, DISSOLVE)
    return [
        replace(a, planes=tuple(cv2.addWeighted(p, 1 - w, q, w, 0) for p, q in zip(a.planes, b.planes, strict=True)))
        for a, b, w in zip(first[-DISSOLVE:], second[:DISSOLVE], weights, strict=True)
    ]


GRADES: dict[str, Callable[[Frame], Frame]] = {
    "as shot": lambda frame: frame,
    "gain 0.35": lambda frame: scaled(frame, 0.35),
    "gain 0.2": lambda frame: scaled(frame, 0.2),
    "log": lambda frame: scaled(frame, 0.3, offset=76),
}


def joined(first: Frames, second: Frames, step: int = 1) -> Frames:
    """The last frames of one clip and the first of another, each `step` frames apart."""
    return [*first[::-1][::step][:CONTEXT][::-1], *second[::step][:CONTEXT]]


def conditions(clips: list[Clip], count: int) -> Iterator[tuple[str, str, list[Frames], bool]]:
    """(condition, grade, sequences, whether there is a cut at their middle) for each row of a table."""
    pick = random.Random(0)
    long = [clip for clip in clips if len(clip.frames) >= DISSOLVE]
    strangers = [(a.frames, b.frames) for a in long for b in long if a.source != b.source]
    strangers = pick.sample(strangers, min(count, len(strangers)))
    relatives = [(a.frames, b.frames) for a in long for b in long if a.source == b.source and a.name != b.name]
    every = [clip.frames for clip in clips]
    for grade in GRADES:
        yield "neighbours", grade, every, False
        yield "joins", grade, [joined(a, b) for a, b in strangers], True
        if grade == "as shot":
            for step in (2, 4):
                yield f"neighbours, 1 frame of {step}", grade, [frames[::step] for frames in every], False
                far = [joined(a, b, step) for a, b in strangers]
                yield f"joins, 1 frame of {step}", grade, [frames for frames in far if len(frames) == 2 * CONTEXT], True
        if relatives:
            yield "one set: joins within a source", grade, [joined(a, b) for a, b in relatives], True
        shots = [[*c.frames[1:5], *map(closer, c.frames[5:9])] for c in long]
        yield "one set: cut to a closer shot", grade, shots, True
        yield "flash", grade, [[*c.frames[:5], flash(c.frames[5]), *c.frames[6:10]] for c in long], False
        yield "crossfade", grade, [crossfade(a, b) for a, b in strangers], False


@dataclass
class Count:
    """What a detector made of the sequences of a condition."""

    cuts: int = 0
    missed: int = 0
    continuations: int = 0
    alarms: int = 0

    def add(self, verdicts: list[bool], has_cut: bool) -> None:
        """`has_cut`: whether there is a cut in the middle; only this frame is counted then."""
        if has_cut:
            self.cuts += 1
            self.missed += not verdicts[CONTEXT]
        else:
            self.continuations += len(verdicts) - 1
            self.alarms += sum(verdicts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--joins", type=int, default=120)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    lines, durations = [HEAD], []
    for folder in options.folders:
        clips, times = read_clips(folder)
        durations += times
        names = " | ".join(DETECTORS)
        lines += [f"## {folder.name}", "", f"| condition | grade | number | {names} |", "|---|---|---|---|---|---|"]
        for condition, grade, sequences, has_cut in conditions(clips, options.joins):
            counts = {name: Count() for name in DETECTORS}
            for sequence in sequences:
                thumbnails = [thumbnail(GRADES[grade](frame)) for frame in sequence]
                for name, detector in DETECTORS.items():
                    counts[name].add(detector(thumbnails), has_cut)
            some = counts["refilm"]
            told = [f"{count.missed} missed" if has_cut else f"{count.alarms} alarms" for count in counts.values()]
            number = f"{some.cuts} cuts" if has_cut else f"{some.continuations} continuations"
            lines.append(f"| {condition} | {grade} | {number} | {' | '.join(told)} |")
        lines.append("")
    lines += [f"Reducing a frame for the comparison: median {statistics.median(durations):.2f} ms.", ""]
    report = "\n".join(lines)
    print(report)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(report)


if __name__ == "__main__":
    main()
