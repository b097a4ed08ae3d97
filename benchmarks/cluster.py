"""What a cluster gains: pieces a second with 1, 2 and 4 workers here, and a simulation of up to 1,000 machines.

python benchmarks/cluster.py [--smoke]   # writes results/bench/cluster.json and cluster.md

Workers are processes of a local Ray cluster with one processor core each. The simulation runs the scheduler of jobs
(`refilm.jobs.elsewhere`) on a clock of its own, with the figures that were measured just before.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from cyclopts import App

from refilm.jobs.elsewhere import WorkerError, made_by
from refilm.jobs.job import Job
from refilm.jobs.pieces import make_piece
from refilm.jobs.planning import SECONDS
from refilm.jobs.segments import survey
from refilm.jobs.source import open_source
from refilm.jobs.video_file import VideoFile
from refilm.options import Encoding, Interpolate, Running
from refilm.stages.table import TaskStages, Work
from refilm.tasks import TASKS

RESULTS = Path(__file__).parents[1] / "results" / "bench"
WIDTH, HEIGHT, LENGTH = 320, 180, 16
FILM_HOUR = 25 * 3600  # frames
MACHINES = (1, 10, 100, 300, 1000)
# Assumed, not measured: how often a machine is lost, and how many of them are how much slower than the others.
HOURS_BETWEEN_LOSSES, SLOW_SHARE, SLOWNESS = 24.0, 0.02, 8.0
app = App(help_format="plaintext")


@dataclass(frozen=True)
class Measured:
    """Seconds, measured on this machine.

    piece     of work in a piece of LENGTH frames
    overhead  that a piece takes longer on the one worker of a cluster than in the process of a job
    survey    of a source frame, to find where pieces begin
    join      of a source frame, to make the output from finished pieces
    megabytes of a finished piece
    """

    piece: float
    overhead: float
    survey: float
    join: float
    megabytes: float


@app.default
def main(*, smoke: bool = False) -> None:
    """Measure, simulate, and write the tables."""
    pieces, workers = (2, (1,)) if smoke else (12, (1, 2, 4))
    with tempfile.TemporaryDirectory() as name:
        measured, rows = measure(Path(name), pieces, workers)
    simulated = [simulate(measured, machines) for machines in ((1, 10) if smoke else MACHINES)]
    if not smoke:
        write(measured, rows, simulated)
    for row in (*rows, *simulated):
        print(row)


def job_for(film: Path, on: str | None) -> Job:
    work = Work(TASKS["interpolation"], "flow-blend", None, Interpolate(times=2))
    running = Running(threads=1, on=on, overwrite=True)
    settings = {"interpolate": work.settings}
    sink = VideoFile(film.with_name("out.mp4"), Encoding())
    return Job(film, sink, TaskStages((work,), "cpu"), settings, running=running, segment_frames=LENGTH)


def measure(folder: Path, pieces: int, counts: tuple[int, ...]) -> tuple[Measured, list[dict[str, Any]]]:
    """The figures of one machine, and for each number of workers the pieces that they make in a second."""
    import ray
    from ray.cluster_utils import Cluster

    shorter, film = folder / "shorter.mp4", folder / "film.mp4"
    joins, making, size = list[float](), 0.0, 0.0
    for path, count in ((shorter, max(pieces // 4, 1)), (film, pieces)):
        write_film(path, count * LENGTH)
        here = job_for(path, None)
        specs = here.plan()
        making = seconds_of(lambda found=specs: [make_piece(spec) for spec in found])
        size = sum(piece.stat().st_size for piece in specs[0].folder.glob("*.piece")) / pieces / 1e6
        joins.append(seconds_of(here.run))
    # what does not grow with the film, such as measuring memory, is not counted
    join = max(joins[1] - joins[0], 0.0) / (pieces - max(pieces // 4, 1)) / LENGTH
    with open_source(film) as source:
        surveying = seconds_of(lambda: survey(source, LENGTH, 0)) / pieces / LENGTH
    alone = seconds_of(here.run)
    rows = []
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # compared is with a process that is not nice
    for count in counts:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(count):
            cluster.add_node(num_cpus=1)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        there = job_for(film, "ray")
        there.run()  # starts the workers, which load what they need
        spent = min(seconds_of(there.run) for _ in range(2))
        rows.append({"workers": count, "seconds": spent, "pieces_a_second": pieces / spent, "here_seconds": alone})
        ray.shutdown()
        cluster.shutdown()
    overhead = max(rows[0]["seconds"] - alone, 0.0) / pieces
    return Measured(making / pieces, overhead, surveying, join, size), rows


def seconds_of(run: Any) -> float:
    began = time.monotonic()
    run()
    return time.monotonic() - began


def write_film(path: Path, frames: int) -> None:
    texture = np.random.default_rng(0).integers(0, 255, (HEIGHT // 6, WIDTH // 8), np.uint8).repeat(6, 0).repeat(8, 1)
    chroma = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            picture = np.concatenate([np.roll(texture, 3 * number, axis=1), chroma])
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class Machines:
    """A pool on a clock of its own, of machines that are lost now and then, of which some are slow."""

    def __init__(self, count: int, piece: float) -> None:
        self.places, self.now, self._piece = count, 0.0, piece
        self._chance = random.Random(0)
        self._ends: list[tuple[float, int, bool, int]] = []
        self.given, self._dropped, self.lost = 0, set[int](), 0

    def give(self, spec: Any) -> int:
        spent = self._piece * self._chance.uniform(0.8, 1.2)
        if self._chance.random() < SLOW_SHARE:
            spent *= SLOWNESS
        until_lost = self._chance.expovariate(1 / (3600 * HOURS_BETWEEN_LOSSES))
        lost = until_lost < spent
        heapq.heappush(self._ends, (self.now + min(spent, until_lost), self.given, lost, spec.index))
        self.given += 1
        return self.given - 1

    def ended(self, tickets: Any, seconds: float) -> list[int]:
        while self._ends and self._ends[0][1] in self._dropped:
            heapq.heappop(self._ends)
        self.now = min(self.now + seconds, max(self._ends[0][0], self.now))
        return [self._ends[0][1]] if self._ends[0][0] <= self.now else []

    def result(self, ticket: int) -> Any:
        _, _, lost, _ = heapq.heappop(self._ends)
        self.lost += lost
        if lost:
            raise WorkerError("lost")
        return ticket

    def take_back(self, ticket: int) -> None:
        self._dropped.add(ticket)


@dataclass(frozen=True)
class _Numbered:
    index: int


def simulate(measured: Measured, machines: int) -> dict[str, Any]:
    """A film of an hour on so many machines, of which each makes one piece at a time."""
    pieces = FILM_HOUR // LENGTH
    pool = Machines(machines, SECONDS + measured.overhead)
    for _ in made_by(pool, [_Numbered(index) for index in range(pieces)], lambda: pool.now):  # type: ignore[arg-type]
        pass
    around = FILM_HOUR * (measured.survey + measured.join)
    hours = (pool.now + around) / 3600
    return {
        "machines": machines,
        "hours": hours,
        "survey_and_join_hours": around / 3600,
        "machine_hours": machines * pool.now / 3600 + around / 3600,
        "pieces_given_again": pool.given - pieces,
        "machines_lost": pool.lost,
        "gigabytes_written": pieces * measured.megabytes / 1e3,
    }


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]


def write(measured: Measured, rows: list[dict[str, Any]], simulated: list[dict[str, Any]]) -> None:
    held = {"cores": os.cpu_count(), "measured": asdict(measured), "workers": rows, "simulated": simulated}
    (RESULTS / "cluster.json").write_text(json.dumps(held, indent=1))
    figures = (
        f"A piece takes {measured.piece:.2f} s of work and {measured.overhead:.2f} s more on a worker. A source frame",
        f"takes {1000 * measured.survey:.1f} ms to find where pieces begin, and {1000 * measured.join:.1f} ms to join.",
        f"A piece has {measured.megabytes:.2f} MB.",
    )
    by_workers = [
        (row["workers"], f"{row['seconds']:.1f}", f"{row['pieces_a_second']:.2f}", f"{row['here_seconds']:.1f}")
        for row in rows
    ]
    by_machines = [
        (
            row["machines"],
            f"{row['hours']:.2f}",
            f"{row['survey_and_join_hours']:.2f}",
            f"{row['machine_hours']:.1f}",
            row["pieces_given_again"],
            row["machines_lost"],
        )
        for row in simulated
    ]
    slow = f"{SLOW_SHARE:.0%} of pieces take {SLOWNESS:.0f} times as long"
    lines = [
        "# Many workers",
        "",
        f"`python benchmarks/cluster.py` on {os.cpu_count()} cores: flow-blend doubles the rate of {WIDTH}x{HEIGHT},",
        f"in pieces of {LENGTH} frames. Workers are processes of a local Ray cluster with one core each.",
        "",
        *table(("workers", "seconds", "pieces a second", "the same job in one process, seconds"), by_workers),
        "",
        *figures,
        "",
        "## Simulated",
        "",
        f"A film of an hour at 25 frames a second, in pieces of {LENGTH} frames that take {SECONDS:.0f} s, as jobs",
        "choose them, with the figures above for all else. Each machine makes one piece at a time. Assumed: a machine",
        f"is lost once in {HOURS_BETWEEN_LOSSES:.0f} hours, and {slow}.",
        "",
        *table(("machines", "hours", "survey and join", "machine-hours", "pieces given again", "lost"), by_machines),
        "",
        f"Pieces come to {simulated[0]['gigabytes_written']:.1f} GB, which are written once and read once.",
    ]
    (RESULTS / "cluster.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    app()
