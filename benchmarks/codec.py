"""What `refilm encode --effort` is worth, and how fast the codec is, by the clock.

    python benchmarks/codec.py FOLDER [--clips 2] [--weights FILE]    # writes results/bench/codec.json and codec.md

The first frames of clips of FOLDER, made as small as SIZE, are encoded with each effort at each other quality. Whole
files are written and read.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from cyclopts import App

from refilm.data.layouts import Footage
from refilm.evaluation.evaluate import find_clips
from refilm.evaluation.rate_distortion import GOP, Point, RateDistortion, bd_rate
from refilm.models import create_model
from refilm.models.table import weights_name
from refilm.video.coded_writer import write_encoded
from refilm.video.decoder import Decoder

RESULTS = Path(__file__).parents[1] / "results" / "bench"
MODEL = "dvc-epa-small"
SIZE = 240, 416
EFFORTS = 0, 1, 2
app = App(help_format="plaintext")


def made_small(clip: Footage, path: Path) -> Footage:
    """The first frames of a clip as a file of its own: as wide and high as SIZE, without loss."""
    decoder = Decoder(clip.files[0], None, on_packet=lambda: None)
    frames = []
    for frame, _ in islice(decoder.frames(None), GOP):
        rgb = frame.rgb
        width = min(rgb.shape[2], rgb.shape[1] * SIZE[1] // SIZE[0])
        left = (rgb.shape[2] - width) // 2
        frames.append(frame.with_rgb(F.interpolate(rgb[None, :, :, left : left + width], SIZE, mode="area")[0]))
    write_encoded(path, frames, "ffv1", {}, decoder.info.frame_rate)
    return Footage(clip.source, (path,))


@app.default
def main(data: Path, /, *, clips: int = 2, weights: str = "default") -> None:
    """Measure, and write the tables."""
    model: Any = create_model(MODEL, weights=weights).eval()
    rows: dict[str, Any] = {"threads": torch.get_num_threads(), "weights": weights_name(MODEL, weights)}
    curves: dict[int, list[list[Point]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        films = [made_small(clip, Path(folder) / f"{clip.source}.mkv") for clip in find_clips(data)[:clips]]
        for effort in EFFORTS:
            protocol = RateDistortion().with_effort(effort)
            settings = protocol.of_model(model, MODEL, None)
            with torch.inference_mode():
                curves[effort] = [protocol.curve(settings, film) for film in films]
            rows[f"effort {effort}"] = row_of(curves[effort], curves[EFFORTS[0]])
            print(effort, rows[f"effort {effort}"], flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "codec.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "codec.md").write_text(table(rows, clips))
    print(table(rows, clips))


def row_of(curves: Sequence[Sequence[Point]], plain: Sequence[Sequence[Point]]) -> dict[str, Any]:
    """The figures of an effort, beside no effort. A curve for each clip."""
    rates = [
        bd_rate([p.bpp for p in curve], [p.psnr_db for p in curve], [(p.bpp, p.psnr_db) for p in before])
        for curve, before in zip(curves, plain, strict=True)
    ]
    points = [point for curve in curves for point in curve]
    return {
        "bd_rate": rates,
        "encode_fps": statistics.median(point.encode_fps for point in points),
        "decode_fps": statistics.median(point.decode_fps for point in points),
    }


def table(rows: dict[str, Any], clips: int) -> str:
    """The Markdown page."""
    lines = [
        "# The learned codec",
        "",
        f"Written by `benchmarks/codec.py`: the first {GOP} frames of {clips} clips at {SIZE[1]}x{SIZE[0]} by "
        f"`{MODEL}`, weights {rows['weights']}, {rows['threads']} threads, with reading and writing of the file. "
        "BD-rate: bits at equal PSNR, relative to effort 0.",
        "",
        "| effort | BD-rate, % | encoding, frames/s | decoding, frames/s |",
        "| --- | --- | --- | --- |",
    ]
    for effort in EFFORTS:
        row = rows[f"effort {effort}"]
        rate = "-" if None in row["bd_rate"] else f"{statistics.mean(row['bd_rate']):+.1f}"
        lines.append(f"| {effort} | {rate} | {row['encode_fps']:.1f} | {row['decode_fps']:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app()
