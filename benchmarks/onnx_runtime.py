"""Which models export to ONNX, and how fast ONNX Runtime runs them beside PyTorch.

python benchmarks/onnx_runtime.py [--smoke]   # writes results/bench/onnx.json and onnx.md

Both run with as many threads and take turns, so that whatever else the machine does hits them alike. Clips of 320x180,
or what a recogniser or detector is shown.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime
import torch
from cyclopts import App

from refilm.errors import UsageError
from refilm.export.onnx import export_onnx, form_of
from refilm.models import MODELS, create_model

RESULTS = Path(__file__).parents[1] / "results" / "bench"
WIDTH, HEIGHT = 320, 180
app = App(help_format="plaintext")


@dataclass(frozen=True)
class Row:
    """A model; `refused` says why it is not exported. Times are medians in milliseconds."""

    model: str
    size: str = ""
    megabytes: float | None = None
    difference: float | None = None
    torch_ms: float | None = None
    onnx_ms: float | None = None
    refused: str | None = None


@app.default
def main(*, smoke: bool = False, turns: int = 7) -> None:
    """Measure, and write the tables."""
    names = [name for name, row in MODELS.items() if row.runs_as_shipped]
    rows = []
    for name in ["vi-ls3d-small"] if smoke else names:
        rows.append(row_of(name, 1 if smoke else turns))
        print(rows[-1], flush=True)
    if not smoke:
        write(rows)


@torch.inference_mode()
def row_of(name: str, turns: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = export_onnx(name, Path(folder) / "model.onnx")
        except UsageError as error:
            return Row(name, refused=str(error).removeprefix(f"{name}: "))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(made.path, options, providers=["CPUExecutionProvider"])
        megabytes = made.path.stat().st_size / 1e6
    form = form_of(create_model(name).eval(), name)
    inputs = {key: example[:1] for key, example in form.inputs.items()}
    if not form.sized:
        inputs["clip"] = torch.rand(*inputs["clip"].shape[:3], HEIGHT, WIDTH)
    feed = {key: value.numpy() for key, value in inputs.items()}
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for place, run in enumerate((lambda: form.run(*inputs.values()), lambda: session.run(None, feed))):
            begin = time.perf_counter()
            run()
            if turn:  # the first warms up
                times[place].append(1000 * (time.perf_counter() - begin))
    height, width = inputs["clip"].shape[3:]
    return Row(
        name,
        f"{width}x{height}",
        round(megabytes, 1),
        made.difference,
        *(round(statistics.median(t), 1) for t in times),
    )


def write(rows: list[Row]) -> None:
    (RESULTS / "onnx.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    lines = [
        "# Models in ONNX",
        "",
        f"`python benchmarks/onnx_runtime.py`: ONNX Runtime {onnxruntime.__version__} and PyTorch {torch.__version__},",
        f"{torch.get_num_threads()} threads each, in turns; medians. The difference is the largest of their results.",
        "",
        "| model | size | file, MB | difference | PyTorch, ms | ONNX Runtime, ms | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.refused is None and row.torch_ms and row.onnx_ms:
            ratio = f"{row.onnx_ms / row.torch_ms:.2f}"
            cells = [row.size, row.megabytes, f"{row.difference:.1g}", row.torch_ms, row.onnx_ms, ratio]
            lines.append(f"| {row.model} | {' | '.join(map(str, cells))} |")
    lines += ["", "Not exported:", "", *(f"- {row.model}: {row.refused}" for row in rows if row.refused)]
    (RESULTS / "onnx.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    app()
