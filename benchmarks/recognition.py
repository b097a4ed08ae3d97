"""What the recognition models cost: processor time for a clip, and what OFF adds to the backbone it stands on.

    python benchmarks/recognition.py [--smoke]    # writes results/bench/recognition.json and recognition.md

One thread, random weights, since neither changes the ratios. Each model and its backbone's part take turns.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from refilm.evaluation.flops import gflop
from refilm.models import MODELS, create_model

RESULTS = Path(__file__).parents[1] / "results" / "bench"
TURNS = 9


def seconds(calls: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """The least processor time of each call, which what else the machine does disturbs least; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            began = time.process_time()
            call()
            if turn:  # the first is to warm up
                times[name].append(time.process_time() - began)
    return {name: min(taken) for name, taken in times.items()}


@torch.inference_mode()
def measured(name: str, turns: int) -> dict[str, Any]:
    """The figures of a model on a clip of the size that it wants."""
    model = create_model(name, weights=None).eval()
    sampling = model.sampling
    clip = torch.rand(1, 3, sampling.frames, sampling.height, sampling.width)
    calls = {"model": lambda: model(clip)}
    if plain := without_off(model):
        calls["backbone"] = lambda: plain(clip)
    taken = seconds(calls, turns)
    return {
        "model": name,
        "frames": sampling.frames,
        "size": f"{sampling.width}x{sampling.height}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "gflop": gflop(lambda: model(clip)),
        "ms_per_frame": 1e3 * taken["model"] / sampling.frames,
        "off_adds": taken["model"] / taken["backbone"] - 1 if "backbone" in taken else None,
    }


def without_off(model: nn.Module) -> nn.Module | None:
    """The same model without its OFF sub-networks; None if it has none."""
    from refilm.models.tsn import TSN, TSNConfig
    from refilm.models.tsn_off import TSNOFF

    if not isinstance(model, TSNOFF):
        return None
    fields = {name: getattr(model.config, name) for name in vars(TSNConfig())}
    plain = TSN(TSNConfig(**fields)).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    return plain


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = [
        "# Recognition",
        "",
        "Written by `benchmarks/recognition.py`: least processor time of a clip as the model wants it, on one thread "
        f"of {platform.processor() or platform.machine()}, and by how much OFF lengthens it. Operations count a "
        "multiply-add as two.",
        "",
        "| model | clip | parameters, M | GFLOP a clip | ms a frame | OFF adds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        adds = "" if row["off_adds"] is None else f"{100 * row['off_adds']:+.0f} %"
        lines.append(
            f"| {row['model']} | {row['frames']} x {row['size']} | {row['parameters'] / 1e6:.2f} | {row['gflop']:.1f} "
            f"| {row['ms_per_frame']:.1f} | {adds} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    smoke = "--smoke" in sys.argv
    torch.set_num_threads(1)
    names = [name for name, row in MODELS.items() if row.task == "recognition"]
    rows = [measured(name, 1 if smoke else TURNS) for name in (names[-1:] if smoke else names)]
    print(table(rows))
    if not smoke:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "recognition.json").write_text(json.dumps(rows, indent=1) + "\n")
        (RESULTS / "recognition.md").write_text(table(rows))


if __name__ == "__main__":
    main()
