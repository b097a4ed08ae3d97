"""What a job costs beyond its model, beside FFmpeg's own transcode: python benchmarks/pipeline.py [--smoke] [--tries N]

Writes results/bench/pipeline.json and pipeline.md. The source is examples/bikes.mp4, scaled; FFmpeg's program and an
identity job (a stage that gives back what it is fed) encode it with the same codec, quality and preset. Candidates take
turns and the best of their times counts, so that what else the machine does hits them least; CPU time, which it hits
less, stands beside. What a call does not measure keeps its rows. Needs the ffmpeg program.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command has it; read when torch is loaded

import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch

from refilm import create_model, probe
from refilm.jobs.job import Job
from refilm.jobs.planning import LONGEST
from refilm.jobs.video_file import VideoFile
from refilm.options import Encoding, Running
from refilm.stages.demand import Demand
from refilm.stages.findings import Finding
from refilm.stages.scene_cuts import thumbnail
from refilm.stages.stage import StreamShape
from refilm.video import Frame, VideoInfo, frames
from refilm.video.encoder import EncoderSettings, encoder_options
from refilm.video.piece_writer import PieceWriter

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "bikes.mp4"
# Frames of the source, by preset and height: seconds of work, so that what a job takes to begin weighs little.
FRAMES = {"medium": {360: 250, 720: 120, 1080: 80}, "ultrafast": {360: 1500, 720: 500, 1080: 250}}
HEIGHTS = (360, 720, 1080)
CODEC, CRF = "libx264", 17
BAR = 0.8  # of FFmpeg's speed


class Identity:
    """The stage that changes nothing."""

    past = future = 0
    keeps_rate = True
    findings: dict[str, Finding] = {}  # noqa: RUF012

    def shape(self, source: StreamShape) -> StreamShape:
        return source

    def demands(self, source: StreamShape) -> list[Demand]:
        return []

    def push(self, frame: Frame) -> Iterator[Frame]:
        yield frame

    def flush(self) -> Iterator[Frame]:
        return iter(())


@dataclass(frozen=True)
class Row:
    """One size and preset: ms a frame, on the clock and of CPU time; `ratio` is speed, job over FFmpeg."""

    height: int
    preset: str
    frames: int
    ms: dict[str, float]
    cpu_ms: dict[str, float]
    ratio: float
    cpu_ratio: float


@dataclass(frozen=True)
class Parts:
    """Where time goes at one size: ms of CPU time a frame, each part alone; `model` is a new frame, of flow-blend."""

    height: int
    cpu_ms: dict[str, float]


def scaled(folder: Path, height: int, count: int) -> Path:
    """The example at another size, as often as it takes for so many frames."""
    target = folder / f"{height}-{count}.mp4"
    width = height * 16 // 9 // 2 * 2
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-stream_loop",
        "-1",
        "-i",
        str(EXAMPLE),
        "-vf",
        f"scale={width}:{height}",
    ]
    encoding = ["-c:v", CODEC, "-crf", "18", "-preset", "veryfast", "-an", "-frames:v", str(count)]
    subprocess.run([*command, *encoding, str(target)], check=True)
    return target


def cpu_seconds() -> float:
    """Of this process and those it has waited for, all threads."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def best_of(tries: int, candidates: dict[str, Callable[[], object]]) -> dict[str, tuple[float, float]]:
    """Seconds of each candidate, on the clock and of CPU time: the least of so many turns."""
    best = dict.fromkeys(candidates, (float("inf"), float("inf")))
    for _ in range(tries):
        for name, run in candidates.items():
            began, cpu = time.perf_counter(), cpu_seconds()
            run()
            taken = (time.perf_counter() - began, cpu_seconds() - cpu)
            best[name] = (min(best[name][0], taken[0]), min(best[name][1], taken[1]))
    return best


def transcode(source: Path, output: Path, preset: str) -> None:
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-c:v", CODEC, "-crf", str(CRF), "-preset", preset]
    subprocess.run([*command, str(output)], check=True)


def identity_job(source: Path, output: Path, preset: str, scene_cuts: bool = False) -> None:
    sink = VideoFile(output, Encoding(codec=CODEC, crf=CRF, preset=preset))
    running = Running(scene_cuts=scene_cuts, overwrite=True, restart=True)
    Job(source, sink, lambda info, tile: Identity(), running=running).run()


def measure(source: Path, preset: str, tries: int, folder: Path) -> Row:
    info = probe(source)
    # the encoder alone is fed from memory: a segment's worth
    pictures = [frame for _, frame in zip(range(LONGEST), frames(source), strict=False)]
    seconds = best_of(
        tries,
        {
            "ffmpeg": lambda: transcode(source, folder / "ffmpeg.mp4", preset),
            "job": lambda: identity_job(source, folder / "job.mp4", preset),
            "job with cuts": lambda: identity_job(source, folder / "cuts.mp4", preset, scene_cuts=True),
            "encode": lambda: encode(pictures, info, preset, folder),
        },
    )
    count = info.frames or 1
    counts = {"encode": len(pictures)}
    ms, cpu_ms = (
        {name: round(1000 * value[k] / counts.get(name, count), 2) for name, value in seconds.items()} for k in (0, 1)
    )
    ratio, cpu_ratio = (round(each["ffmpeg"] / each["job"], 3) for each in (ms, cpu_ms))
    return Row(info.height, preset, count, ms, cpu_ms, ratio, cpu_ratio)


def encode(pictures: Sequence[Frame], info: VideoInfo, preset: str, folder: Path) -> None:
    """A piece as a job makes it."""
    settings = EncoderSettings(
        codec=CODEC, format=info.pix_fmt, width=info.width, height=info.height, time_base=info.time_base,
        frame_rate=info.frame_rate, sample_aspect_ratio=Fraction(1), tags=info.tags, threads=os.cpu_count() or 1,
        options=encoder_options(CODEC, CRF, preset, info),
    )  # fmt: skip
    writer = PieceWriter(folder / "piece", settings)
    for frame in pictures:
        writer.write(frame)
    writer.close()


def measure_parts(source: Path, tries: int) -> Parts:
    info = probe(source)
    pictures = [frame for _, frame in zip(range(8), frames(source), strict=False)]
    rgb = [frame.rgb for frame in pictures]
    model = create_model("flow-blend")
    windows = [torch.stack(rgb[k : k + model.window], dim=1)[None] for k in range(len(rgb) - model.window + 1)]
    parts: dict[str, tuple[int, Callable[[], object]]] = {
        "decode": (info.frames or 1, lambda: [None for _ in frames(source)]),
        "find cuts": (len(pictures), lambda: [thumbnail(frame) for frame in pictures]),
        "to RGB": (len(pictures), lambda: [frame.rgb for frame in pictures]),
        "from RGB": (len(pictures), lambda: [frame.with_rgb(rgb[k]) for k, frame in enumerate(pictures)]),
        # one after the other, as a job asks for them: flows of one are of use to the next
        "model": (len(windows), lambda: [model.between(window, [Fraction(1, 2)]) for window in windows]),
    }
    taken = best_of(tries, {name: run for name, (_, run) in parts.items()})
    return Parts(info.height, {name: round(1000 * taken[name][1] / count, 2) for name, (count, _) in parts.items()})


def start_up(tries: int) -> float:
    """Seconds from the command to its first work: what a short clip pays on top."""
    command = [sys.executable, "-c", "import refilm.api"]
    return best_of(tries, {"start": lambda: subprocess.run(command, check=True)})["start"][0]


def one_frame(tries: int) -> float:
    """Seconds of an identity job on a single small frame: starting the reading process, probing, joining."""
    with tempfile.TemporaryDirectory() as name:
        source = scaled(Path(name), 36, 1)
        return best_of(tries, {"job": lambda: identity_job(source, Path(name) / "out.mp4", "medium")})["job"][0]


def as_markdown(record: dict[str, Any]) -> str:
    lines = [
        "# The ground of a job",
        "",
        f"Written by `benchmarks/pipeline.py`: {record['machine']}, {record['cores']} cores, PyAV {record['pyav']}, "
        f"{record['ffmpeg']}. {CODEC}, crf {CRF}; ms a frame, on the clock (of CPU time), best of a few turns. "
        f"In the latest call {record['tries']} turns; before it, {record['load']} other processes wanted the machine.",
        f"The bar: an identity job at {BAR} x the speed of FFmpeg's program or better. The job runs in a process that "
        f"has loaded torch already, for which a command takes {record['start_up']} s; what a job of one frame takes, "
        f"{record['one_frame']} s, is in each of its times, and weighs little in a film.",
        "",
        "| height | preset | frames | ffmpeg | identity job | with cuts | encoder alone | job's speed / ffmpeg's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        times = " | ".join(f"{ms} ({row['cpu_ms'][name]})" for name, ms in row["ms"].items())
        ratios = f"{row['ratio']} ({row['cpu_ratio']})"
        lines.append(f"| {row['height']} | {row['preset']} | {row['frames']} | {times} | {ratios} |")
    names = list(record["parts"][0]["cpu_ms"])
    lines += [
        "",
        "Each part alone, ms of CPU time a frame (model: `flow-blend`, a new frame):",
        "",
        f"| height | {' | '.join(names)} |",
        "|---|" + "---|" * len(names),
    ]
    for part in record["parts"]:
        lines.append(f"| {part['height']} | {' | '.join(str(part['cpu_ms'].get(name, '')) for name in names)} |")
    return "\n".join(lines) + "\n"


def kept(path: Path, record: dict[str, Any], key: Callable[[dict[str, Any]], Any], what: str) -> list[dict[str, Any]]:
    """The rows of `record`, and those of an earlier run that it has not measured."""
    former = json.loads(path.read_text())[what] if path.exists() else []
    rows = {key(row): row for row in (*former, *record[what])}
    return [rows[place] for place in sorted(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="one tiny size, once: that it runs")
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--heights", type=int, nargs="+", default=list(HEIGHTS), choices=HEIGHTS)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench", help="folder of the two files")
    parser.add_argument("--presets", nargs="+", default=list(FRAMES), choices=list(FRAMES))
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit(0 if options.smoke else "the ffmpeg program is wanted beside the job, and is not installed")
    heights = (36,) if options.smoke else options.heights
    tries = 1 if options.smoke else options.tries

    load = os.getloadavg()[0]
    rows, parts = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for height in heights:
            for preset in options.presets:
                source = scaled(folder, height, 70 if options.smoke else FRAMES[preset][height])
                rows.append(measure(source, preset, tries, folder))
            parts.append(measure_parts(source, tries))
    version = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    record: dict[str, Any] = {
        "machine": platform.machine(), "cores": os.cpu_count(), "pyav": av.__version__,
        "ffmpeg": version.split(" Copyright")[0], "tries": tries, "load": round(load, 1),
        "start_up": round(start_up(tries), 2), "one_frame": round(one_frame(tries), 2),
        "rows": [asdict(row) for row in rows], "parts": [asdict(part) for part in parts],
    }  # fmt: skip
    if not options.smoke:
        path = options.out / "pipeline.json"
        record["rows"] = kept(path, record, lambda row: (row["height"], row["preset"]), "rows")
        record["parts"] = kept(path, record, lambda row: row["height"], "parts")
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1))
        (options.out / "pipeline.md").write_text(as_markdown(record))
    print(as_markdown(record))


if __name__ == "__main__":
    main()
