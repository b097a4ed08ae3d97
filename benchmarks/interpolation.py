"""What a new frame costs by each interpolator, FFmpeg's minterpolate beside them: python benchmarks/interpolation.py
[--smoke] [--frames N]

Writes results/bench/interpolation.json and interpolation.md. The source is examples/bikes.mp4, scaled. The
methods take turns, interval by interval, so that whatever else the machine does hits them alike; medians are
given, on the clock and of CPU time. The first interval of each is not counted: it includes warming up.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command has it; read when torch is loaded

import platform
import statistics
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from refilm import create_model
from refilm.evaluation.interpolators import Interpolator, ModelInterpolator, minterpolate
from refilm.video import Frame, frames

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "bikes.mp4"
HEIGHTS = (360, 720, 1080)
MODELS = ("flow-blend", "vi-ls3d-flow")
MIDDLE = (Fraction(1, 2),)


@dataclass(frozen=True)
class Row:
    """Milliseconds a new frame, by method: on the clock, and CPU time of all threads."""

    height: int
    frames: int
    ms: dict[str, float]
    cpu_ms: dict[str, float]


def scaled(height: int, count: int) -> list[Frame]:
    """The first frames of the example at another size."""
    width = height * 16 // 9 // 4 * 4
    source = islice(frames(EXAMPLE), count)
    return [frame.with_rgb(F.interpolate(frame.rgb[None], (height, width), mode="bicubic")[0]) for frame in source]


def methods() -> dict[str, Interpolator]:
    cpu = torch.device("cpu")
    models = {name: ModelInterpolator(create_model(name), cpu) for name in MODELS}
    return {**models, "minterpolate": minterpolate}


def measure(height: int, count: int) -> Row:
    kept = scaled(height, count)
    runs = {name: method(kept, MIDDLE) for name, method in methods().items()}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(count - 1):
        for name, run in runs.items():
            began, cpu = time.perf_counter(), time.process_time()
            next(run)
            seconds[name].append((time.perf_counter() - began, time.process_time() - cpu))
    ms, cpu_ms = (
        {name: round(1000 * statistics.median(each[clock] for each in taken[1:]), 1) for name, taken in seconds.items()}
        for clock in (0, 1)
    )
    return Row(height, count - 2, ms, cpu_ms)


def as_markdown(record: dict[str, Any]) -> str:
    names = list(record["rows"][0]["ms"])
    lines = [
        "# A new frame",
        "",
        f"Written by `benchmarks/interpolation.py`: {record['machine']}, {record['threads']} threads, torch "
        f"{record['torch']}. Milliseconds for one new frame half-way between two, medians, on the clock (of CPU time); "
        "conversion to RGB is included. Before it, "
        f"{record['load']} other processes wanted the machine.",
        "",
        f"| height | frames | {' | '.join(names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for row in record["rows"]:
        times = " | ".join(f"{row['ms'][name]} ({row['cpu_ms'][name]})" for name in names)
        lines.append(f"| {row['height']} | {row['frames']} | {times} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="one tiny size; checks that it runs, writes nothing")
    parser.add_argument("--heights", type=int, nargs="+", default=list(HEIGHTS))
    parser.add_argument("--frames", type=int, default=12, help="frames of the source at each size")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench", help="folder of the two files")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    heights, count = ([64], 4) if options.smoke else (options.heights, options.frames)
    record: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": round(load, 1),
        "rows": [asdict(measure(height, count)) for height in heights],
    }
    if not options.smoke:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "interpolation.json").write_text(json.dumps(record, indent=1) + "\n")
        (options.out / "interpolation.md").write_text(as_markdown(record))
    print(as_markdown(record))


if __name__ == "__main__":
    main()
