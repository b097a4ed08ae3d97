"""Does a job stay under its memory budget? Whole jobs on 1080p and 4K, and what each encoder takes.

python benchmarks/memory.py             # writes results/bench/memory.json and .md
python benchmarks/memory.py --only 4K   # only the rows that contain these words, which are renewed in the tables
python benchmarks/memory.py --encoders  # bytes of memory for each byte of a picture, for jobs/budget.py

The peak is that of the command and its reading process together, measured as for the report of a job: libraries count
once and whole, also where other processes of the machine use them.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import av
import cv2
import numpy as np
from cyclopts import App, Parameter

from refilm.jobs.memory_meter import MemoryMeter

RESULTS = Path(__file__).parents[1] / "results" / "bench"
SIZES = {"540p": (960, 540), "720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
# (picture, frames, command, budgets in GB): the first two ask most of the encoder, the others of the models. Films must
# be so long that results wait for the filter and the encoder while the model runs.
JOBS = (
    ("1080p", 70, "interpolate --times 1 --model flow-blend", (1.5, 4.0)),
    ("4K", 70, "interpolate --times 1 --model flow-blend", (4.0, 8.0)),
    ("1080p", 6, "interpolate --times 2 --model flow-blend", (1.0, 4.0)),
    ("4K", 5, "interpolate --times 2 --model flow-blend", (2.0, 8.0)),
    ("1080p", 5, "interpolate --times 2 --model vi-ls3d-flow", (6.0,)),
    ("4K", 5, "interpolate --times 2 --model vi-ls3d-flow", (8.0,)),
    ("1080p", 4, "interpolate --times 2 --model vi-ls3d-small", (1.0, 1.5, 2.0, 4.0)),
    ("4K", 4, "interpolate --times 2 --model vi-ls3d-small", (2.0, 4.0, 8.0)),
    ("540p", 7, "upscale --scale 4", (2.0, 8.0)),
    ("720p", 7, "upscale --scale 4", (2.5, 3.0)),
    ("1080p", 7, "upscale --scale 2", (2.5, 4.0)),
    ("1080p", 7, "upscale --scale 4", (4.0, 8.0)),
)
ENCODERS = (
    ("libx264", "ultrafast"), ("libx264", "veryfast"), ("libx264", "medium"), ("libx264", "slow"),
    ("libx264", "veryslow"), ("libx265", "ultrafast"), ("libx265", "medium"), ("libx265", "slow"), ("libvpx-vp9", None),
    ("libsvtav1", None), ("ffv1", None),
)  # fmt: skip
app = App(help_format="plaintext")


@dataclass(frozen=True)
class Row:
    """One job; `peak_gb` and `planned_gb` are None where it was refused, with the reason."""

    picture: str
    frames: int
    command: str
    budget_gb: float
    peak_gb: float | None
    planned_gb: float | None = None
    tile: int | None = None
    refused: str | None = None


@app.default
def main(
    *, encoders: Annotated[bool, Parameter(negative="")] = False, smoke: bool = False, only: str | None = None
) -> None:
    """Measure, and write the tables."""
    if encoders:
        for codec, preset in ENCODERS:
            print(codec, preset or "", f"{encoder_bytes(codec, preset):.0f}")
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for picture, frames, command, budgets in JOBS[:1] if smoke else JOBS:
            if only is not None and only not in f"{picture} {frames} {command}":
                continue
            source = folder / f"{picture}-{frames}.mp4"
            if not source.exists():
                write_source(source, *SIZES[picture], frames if not smoke else 2)
            for budget in budgets:
                rows.append(run_job(source, picture, frames, command, budget))
                print(rows[-1], flush=True)
    exceeded = [row for row in rows if row.peak_gb is not None and row.peak_gb > row.budget_gb]
    if not smoke:
        write(rows if only is None else renewed(rows))
    sys.exit(f"above the budget: {exceeded}" if exceeded else 0)


def run_job(source: Path, picture: str, frames: int, command: str, budget: float) -> Row:
    """One job in a process of its own, watched."""
    output = source.with_name("out.mp4")
    task, *options = command.split()
    command_line = [sys.executable, "-m", "refilm.cli.main"]
    process = subprocess.Popen(
        [*command_line, task, str(source), str(output), *options, "--max-memory", f"{budget}GB", "--overwrite"],
        stderr=subprocess.PIPE,
        text=True,
    )
    tile = None
    plan = output.with_name(output.name + ".refilm") / "job.json"
    with MemoryMeter(process.pid) as meter:
        while process.poll() is None:
            if tile is None and plan.exists():
                tile = json.loads(plan.read_text())["tile"]
            time.sleep(0.02)
    assert process.stderr is not None
    said = process.stderr.read().strip()
    if process.returncode:
        return Row(picture, frames, command, budget, None, refused=said.splitlines()[-1].removeprefix("refilm: "))
    planned = json.loads(output.with_name(output.name + ".json").read_text())["planned_memory_mb"] * 1e6
    return Row(picture, frames, command, budget, round(meter.peak / 1e9, 2), round(planned / 1e9, 2), tile)


def write_source(path: Path, width: int, height: int, frames: int) -> None:
    """A texture that moves far behind lettering at rest, as the steps on record saw it (`refilm.stages.steps`)."""
    step = 8 + height // 40
    grain = np.random.default_rng(0).integers(0, 190, (height // (step + 4), width // (step + 4)), dtype=np.uint8)
    texture = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(frame_of(texture, number, step * number)))
        container.mux(stream.encode(None))


def frame_of(texture: np.ndarray, number: int, shift: int) -> av.VideoFrame:
    """A frame with the texture moved so far to the right, behind lettering."""
    height, width = texture.shape
    gray = np.full((height // 2, width), 128, np.uint8)
    luma = np.roll(texture, shift, axis=1)
    cv2.putText(luma, "STAY HERE", (width // 5, height // 2), 0, height / 200, (235,), max(height // 96, 1))
    frame = av.VideoFrame.from_ndarray(np.concatenate([luma, gray]), format="yuv420p")
    frame.pts, frame.time_base = number, Fraction(1, 24)
    return frame


def encoder_bytes(codec: str, preset: str | None) -> float:
    """Bytes of memory an encoder takes for each byte of a picture, at 960x540, in a process of its own."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import memory;"
        f" print(memory.encode_and_measure({codec!r}, {preset!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def encode_and_measure(codec: str, preset: str | None) -> float:
    """Encode more frames than any encoder looks ahead, and see how this process has grown."""
    from refilm.video.encoder import encoder_options
    from refilm.video.reader import probe

    width, height, frames = 960, 540, 130
    grain = np.random.default_rng(0).integers(0, 255, (height, width), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.nut"
        write_source(Path(folder) / "one.mp4", width, height, 1)
        options = encoder_options(codec, None, preset, probe(Path(folder) / "one.mp4"))
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        with av.open(str(path), "w", format="nut") as container:
            stream = container.add_stream(codec, rate=24, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(frames):
                container.mux(stream.encode(frame_of(grain, number, 4 * number)))
            container.mux(stream.encode(None))
        return (_status("VmHWM") - before) / (1.5 * width * height)


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def renewed(rows: list[Row]) -> list[Row]:
    """The rows on record, in the order of JOBS, with these in the place of those for the same job."""
    held = [Row(**job) for job in json.loads((RESULTS / "memory.json").read_text())["jobs"]]
    by_job = {(row.picture, row.command, row.budget_gb): row for row in (*held, *rows)}
    return [by_job[job] for p, _, c, budgets in JOBS for b in budgets if (job := (p, c, b)) in by_job]


def write(rows: list[Row]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "system": platform.machine(), "ffmpeg": av.library_versions["libavcodec"]}
    (RESULTS / "memory.json").write_text(json.dumps({"machine": machine, "jobs": [asdict(r) for r in rows]}, indent=1))
    lines = [
        "# Memory under a budget",
        "",
        "`python benchmarks/memory.py`: peak of a whole job, the command and its reading process together, x264 at its",
        f"default settings on {os.cpu_count()} cores. A job that cannot keep to its budget is refused at once.",
        "",
        "| source | frames | refilm ... | budget, GB | planned, GB | peak, GB | planned / peak | tile |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.picture, str(row.frames), row.command, f"{row.budget_gb}"]
        if row.peak_gb is None or row.planned_gb is None:
            cells += ["", "refused", "", ""]
        else:
            cells += [f"{row.planned_gb:.2f}", f"{row.peak_gb:.2f}", f"{row.planned_gb / row.peak_gb:.2f}"]
            cells += ["whole picture" if row.tile is None else str(row.tile)]
        lines.append(f"| {' | '.join(cells)} |")
    refused = next((row.refused for row in rows if row.refused), None)
    if refused:
        lines += ["", f"A refusal reads: {refused}"]
    (RESULTS / "memory.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    app()
