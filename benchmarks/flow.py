"""The learned motion beside DIS: how well it brings one frame to another, how far the two differ, and what they take.

    python benchmarks/flow.py FOLDER [WEIGHTS]    # writes results/bench/flow.json and flow.md

FOLDER    clips of one scene each, except for those in CUTS
WEIGHTS   a weight file of the network, instead of the one that ships
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.data import read_packs
from refilm.evaluation.metrics import psnr_db
from refilm.layers.optical_flow import DIS, MotionSource, consistent, luma
from refilm.layers.sampling import pixel_grid, sample
from refilm.models import create_model
from refilm.models.motion import NETWORK, LearnedMotion
from refilm.models.table import row_of

RESULTS = Path(__file__).parents[1] / "results" / "bench"
CUTS = {"0097.mp4": 20}  # a scene begins with that frame
DISTANCES = 1, 2  # frames between the two of a pair
CLASSICAL = DIS(refinement=10)  # as flow-blend uses it
STEPS = 10, 30, 55, 80  # pixels by which the disc moves
RADIUS = 40  # pixels, of the disc
SIZE = 360, 640  # of the frames on which the time is taken
TURNS = 15


def scenes(folder: str) -> Iterator[tuple[str, Tensor]]:
    """(clip, its frames [T, 3, H, W] in [0, 1])"""
    pack = read_packs(folder)
    for clip, frames in zip(pack.clips, pack.frames, strict=True):
        cut = CUTS.get(clip.file)
        for part in (frames,) if cut is None else (frames[:cut], frames[cut:]):
            yield clip.file, part.float() / 255


def moved(frame: Tensor, flow: Tensor) -> Tensor:
    """[3, H, W] sampled where a flow [2, H, W] leads."""
    return sample(frame[None], pixel_grid(frame.shape[1], frame.shape[2], frame.device) + flow)[0]


def of_pair(frames: Tensor, learned: MotionSource) -> dict[str, float]:
    """The figures of a pair [2, 3, H, W], in both directions."""
    first, second = luma(frames)[:, None]
    classical, ours = (source.both_ways(first, second)[:, 0] for source in (CLASSICAL, learned))
    trusted = consistent(classical)
    apart = (ours - classical).norm(dim=1, keepdim=True)
    return {
        "motion": mean(classical.norm(dim=1, keepdim=True), trusted),
        "apart": mean(apart, trusted),
        "within_a_pixel": mean((apart < 1).float(), trusted),
        "trusted": float(trusted.mean()),
        **{
            name: statistics.mean(
                psnr_db(moved(other, flow), frame)
                for frame, other, flow in zip(frames, frames.flip(0), flows, strict=True)
            )
            for name, flows in (("unmoved", 0 * ours), ("dis", classical), ("learned", ours))
        },
    }


def mean(values: Tensor, weights: Tensor) -> float:
    return float((values * weights).sum() / weights.sum().clamp(min=1e-6))


def on_disc(frame: Tensor, step: float, source: MotionSource) -> float:
    """The median end-point error on a disc that moves over a frame at rest, whose flow is known.

    The disc shows another part of the same frame, and moves by `step` pixels along a diagonal.
    """
    _, height, width = frame.shape
    way = step * torch.tensor([0.8, 0.6])
    grid = pixel_grid(height, width, frame.device)
    start = torch.tensor([width / 2, height / 2]) - way / 2
    content = frame.roll((height // 3, width // 3), (1, 2))
    pictures, places = [], []
    for gone in (torch.zeros(2), way):
        place = ((grid[0] - (start + gone).view(2, 1, 1)).norm(dim=0) < RADIUS).float()
        shown = moved(content, -gone.view(2, 1, 1).expand(-1, height, width))
        pictures.append(torch.where(place > 0, shown, frame))
        places.append(place)
    flow = source.both_ways(*luma(torch.stack(pictures))[:, None])[0, 0]
    return float((flow - way.view(2, 1, 1)).norm(dim=0)[places[0] > 0].median())


def milliseconds(learned: MotionSource) -> dict[str, float]:
    """Median time for a pair of frames of SIZE, both directions; the two take turns."""
    frame = F.interpolate(torch.rand(1, 3, SIZE[0] // 8, SIZE[1] // 8), SIZE, mode="bicubic").clamp(0, 1)
    first, second = luma(frame), luma(frame.roll((3, -5), (2, 3)))
    times: dict[str, list[float]] = {"dis": [], "learned": []}
    for turn in range(TURNS + 1):
        for name, source in (("dis", CLASSICAL), ("learned", learned)):
            began = time.perf_counter()
            source.both_ways(first, second)
            if turn:  # the first is to warm up
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(taken) for name, taken in times.items()}


def table(record: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        "# Motion",
        "",
        'Written by `benchmarks/flow.py`: the learned motion (`motion = "learned"`) beside DIS as `flow-blend` uses '
        "it. *Unmoved*, *DIS* and *learned*: RGB PSNR in dB of each frame of a pair and the other one, "
        "backward-warped to it, over whole frames, mean of both directions. *Apart*: mean distance of the two flows "
        "in pixels, and the share of pixels where it is below 1, where DIS is consistent there and back; *motion* is "
        "the mean length of DIS flow there.",
        "",
        f"Network: {record['weights']}, {record['parameters']} parameters.",
    ]
    for distance in DISTANCES:
        rows = record["pairs"][str(distance)]
        lines += [
            "",
            f"## Frames at distance {distance}",
            "",
            "| clip | unmoved | DIS | learned | learned - DIS | motion | apart | below 1 |",
            "|" + "---|" * 8,
        ]
        lines += [
            f"| {name} | {r['unmoved']:.2f} | {r['dis']:.2f} | {r['learned']:.2f} | {r['learned'] - r['dis']:+.2f} | "
            f"{r['motion']:.2f} | {r['apart']:.2f} | {r['within_a_pixel']:.0%} |"
            for name, r in rows.items()
        ]
    lines += [
        "",
        "## Large motion",
        "",
        f"A disc of {RADIUS} pixels radius moves over a frame at rest; median end-point error on it in pixels, median "
        "of a frame of each clip.",
        "",
        "| moves by | DIS | learned |",
        "|---|---|---|",
    ]
    lines += [f"| {step} | {r['dis']:.2f} | {r['learned']:.2f} |" for step, r in record["disc"].items()]
    ms = record["milliseconds"]
    lines += [
        "",
        "## Time",
        "",
        f"A pair of frames of {SIZE[1]}x{SIZE[0]}, both directions, on {record['threads']} threads of "
        f"{record['machine']}, median of {TURNS} turns: DIS {ms['dis']:.0f} ms, learned {ms['learned']:.0f} ms.",
    ]
    return "\n".join(lines) + "\n"


def averaged(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.mean(row[name] for row in rows) for name in rows[0]}


@torch.inference_mode()
def main() -> None:
    folder, weights = sys.argv[1], (sys.argv[2] if len(sys.argv) > 2 else "default")
    network = create_model(NETWORK, weights)
    learned = LearnedMotion(network)  # type: ignore[arg-type]
    clips = list(scenes(folder))
    pairs: dict[str, dict[str, dict[str, float]]] = {}
    for distance in DISTANCES:
        rows: dict[str, list[dict[str, float]]] = {}
        for name, frames in clips:
            rows.setdefault(name, []).extend(
                of_pair(frames[t::distance][:2], learned) for t in range(len(frames) - distance)
            )
        pairs[str(distance)] = {name: averaged(found) for name, found in rows.items()}
        pairs[str(distance)]["mean"] = averaged(list(pairs[str(distance)].values()))
        print(distance, pairs[str(distance)]["mean"], flush=True)
    sources: tuple[tuple[str, MotionSource], ...] = (("dis", CLASSICAL), ("learned", learned))
    disc = {
        str(step): {
            name: statistics.median(on_disc(frames[len(frames) // 2], step, source) for _, frames in clips)
            for name, source in sources
        }
        for step in STEPS
    }
    record = {
        "weights": Path(weights).name if weights != "default" else row_of(NETWORK).weights,
        "parameters": sum(p.numel() for p in network.parameters()),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "pairs": pairs,
        "disc": disc,
        "milliseconds": milliseconds(learned),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "flow.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "flow.md").write_text(table(record))
    print(table(record))


if __name__ == "__main__":
    main()
