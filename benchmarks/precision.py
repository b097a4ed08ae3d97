"""How much faster models make pictures in bfloat16, and what that costs.

python benchmarks/precision.py DATA [--every 12]     # writes results/bench/precision.json and precision.md
python benchmarks/precision.py DATA --only vdn-ls3d-small    # measures one model anew

DATA is a folder of clips, such as those of results/val. Each model is measured by the protocol that ranks it, in
float32 and in bfloat16 by turns, clip by clip: restorers on every twelfth frame, interpolators on every third clip.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from cyclopts import App

from refilm.evaluation.evaluate import find_clips
from refilm.evaluation.protocols import PROTOCOLS
from refilm.evaluation.restoration import Restoration
from refilm.evaluation.results import mean
from refilm.evaluation.stopwatch import Stopwatch
from refilm.models import MODELS, create_model
from refilm.ops.native import fast_bfloat16
from refilm.tasks import TASKS

FEWER = 3  # of the clips, one in so many is measured by interpolators
RESULTS = Path(__file__).parents[1] / "results" / "bench"
app = App(help_format="plaintext")


@dataclass(frozen=True)
class Row:
    """A model: milliseconds a frame (median), and PSNR in dB (mean over the clips), in float32 and in bfloat16."""

    model: str
    protocol: str
    ms: float
    ms_bfloat16: float
    psnr_db: float
    psnr_db_bfloat16: float


@app.default
def main(data: Path, /, *, every: int = 12, only: tuple[str, ...] = ()) -> None:
    """Measure, and write the tables."""
    target = RESULTS / "precision.json"
    rows = {row["model"]: Row(**row) for row in json.loads(target.read_text())} if target.exists() else {}
    learned = [n for n, row in MODELS.items() if row.weights and TASKS[row.task].makes == "pictures"]
    for name in only or learned:
        rows[name] = row_of(name, data, every)
        print(rows[name], flush=True)
        target.write_text(json.dumps([asdict(rows[name]) for name in learned if name in rows], indent=1))
    write([rows[name] for name in learned if name in rows], every)


def row_of(name: str, data: Path, every: int) -> Row:
    model = create_model(name).eval()
    protocol = PROTOCOLS[TASKS[MODELS[name].task].protocol]
    clips = find_clips(data)
    if isinstance(protocol, Restoration):
        protocol = protocol.thinned(every)
    else:  # measures all of a clip, or nothing
        clips = clips[::FEWER]
    watches = {"float32": Stopwatch(), "bfloat16": Stopwatch()}
    psnr: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for clip in clips:
        for precision, watch in watches.items():
            model.precision = precision
            method = protocol.method(model, torch.device("cpu"))
            psnr[precision].append(protocol.measure(method, clip, watch).psnr_db)
    times = [round(watch.median_ms or 0.0, 1) for watch in watches.values()]
    return Row(name, protocol.name, *times, *(round(mean(each), 3) for each in psnr.values()))


def write(rows: list[Row], every: int) -> None:
    lines = [
        "# Pictures in bfloat16",
        "",
        f"`python benchmarks/precision.py DATA`, torch {torch.__version__}, {torch.get_num_threads()} threads; "
        f"bfloat16 by {fast_bfloat16() or 'no instructions of its own'}. Both by turns, clip by clip; medians of the "
        f"time for a frame. Of restorers, every {every}th frame; of interpolators, every {FEWER}rd clip.",
        "",
        "| model | protocol | float32, ms | bfloat16, ms | times as fast | PSNR, dB | PSNR in bfloat16 | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        faster, lost = row.ms / row.ms_bfloat16, row.psnr_db_bfloat16 - row.psnr_db
        lines.append(
            f"| {row.model} | {row.protocol} | {row.ms} | {row.ms_bfloat16} | {faster:.2f} | {row.psnr_db:.3f} | "
            f"{row.psnr_db_bfloat16:.3f} | {lost:+.3f} |"
        )
    (RESULTS / "precision.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    app()
