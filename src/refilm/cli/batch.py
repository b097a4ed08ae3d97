"""One command for many inputs: which files, under which names, and a process for each."""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from refilm.cli.exit_codes import DONE, FAILED, INTERRUPTED
from refilm.errors import JobError, UsageError, VideoError
from refilm.video.containers import is_sequence
from refilm.video.joining import WRITABLE

# What is taken for a video in a folder; a file that is named is tried whatever its ending.
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How one of many jobs ended.

    state     "done", "failed" or "stopped"
    message   what was wrong
    """

    source: str
    output: str
    state: str
    seconds: float
    frames_in: int | None = None
    frames_out: int | None = None
    message: str | None = None


def run_many(
    task: str,
    inputs: Sequence[Path],
    folder: Path,
    suffix: str | None,
    jobs: int,
    options: dict[str, Any],
    as_json: bool,
) -> int:
    """The exit code of the same job on many inputs, `jobs` at a time, each in a process of its own.

    What goes wrong with one stops no other. Stopped and called again, finished outputs are left as they are.
    """
    pairs = plan(inputs, folder, suffix)
    folder.mkdir(parents=True, exist_ok=True)
    options |= {"leave_finished": True}
    if jobs > 1:
        options |= {"max_memory": _share_of_memory(options, jobs)}
    with BatchConsole(as_json) as console, Children(task, options, jobs, console) as children:
        with ThreadPoolExecutor(jobs) as threads:
            results = [threads.submit(children.run, *pair) for pair in pairs]
            try:
                for result in results:
                    result.result()
            except KeyboardInterrupt:
                children.stop()
        outcomes = [result.result() for result in results]
    console.summary(outcomes)
    if any(outcome.state == "stopped" for outcome in outcomes):
        return INTERRUPTED
    return FAILED if any(outcome.state == "failed" for outcome in outcomes) else DONE


def _share_of_memory(options: dict[str, Any], jobs: int) -> float | None:
    """Bytes for each of so many jobs; None: what they find, on a device that is not ours to look at from here."""
    import torch

    from refilm.jobs.budget import amount, free_memory

    if options["max_memory"] is not None:
        return amount(options["max_memory"]) / jobs
    return 0.75 * free_memory(torch.device("cpu")) / jobs if options["device"] == "cpu" else None


def plan(inputs: Sequence[Path], folder: Path, suffix: str | None) -> list[tuple[Path, Path]]:
    """(input, output) for each video that `inputs` name, each once, in their order.

    An output has its input's name; a picture sequence's has that of its folder. Raises UsageError where two inputs
    would become one output, JobError where an output would be its input, VideoError where a folder or pattern holds
    nothing.
    """
    if suffix is not None and suffix.lower() not in WRITABLE:
        raise UsageError(f"--suffix must be one of {', '.join(sorted(WRITABLE))}, got {suffix!r}")
    if not inputs:
        raise UsageError("--output-dir wants at least one input: a file, a folder of videos, or a pattern")
    if folder.exists() and not folder.is_dir():
        raise JobError(f"{folder}: is not a folder; outputs go into one")
    pairs: dict[Path, Path] = {}
    for source in (file for path in inputs for file in _videos(path)):
        output = _output_name(source, folder, suffix)
        if output.exists() and source.exists() and output.samefile(source):
            raise JobError(f"{folder}: holds the input {source.name}; choose another --output-dir")
        known = pairs.setdefault(output, source)
        if known.resolve() != source.resolve():
            raise UsageError(f"{known} and {source} would both become {output}; rename one, or run them apart")
    return [(source, output) for output, source in pairs.items()]


def _videos(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file())
        if not found:
            raise VideoError(f"{path}: holds no video file (looked for {', '.join(VIDEO_SUFFIXES)})")
        return found
    if path.exists() or is_sequence(path) or glob.escape(str(path)) == str(path):
        return [path]  # a file that is missing fails alone, in its turn
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise VideoError(f"{path}: no such file: nothing matches this pattern")
    return found


def _output_name(source: Path, folder: Path, suffix: str | None) -> Path:
    if is_sequence(source):
        return folder / (source.parent.resolve().name + (suffix or ".mkv"))
    if suffix is None:
        suffix = source.suffix if source.suffix.lower() in WRITABLE else ".mkv"
    return folder / (source.stem + suffix)


class Children:
    """The processes at work. A context manager that leaves none behind."""

    def __init__(self, task: str, options: dict[str, Any], jobs: int, console: BatchConsole) -> None:
        self._task, self._options, self._console = task, options, console
        self._threads = options["threads"] or (max(1, cores() // jobs) if jobs > 1 else None)
        self._alive: set[subprocess.Popen[str]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)

    def stop(self, how: int = signal.SIGINT) -> None:
        """All of them, and begin no other."""
        with self._lock:
            self._stopped = True
            for process in self._alive:
                process.send_signal(how)

    def run(self, source: Path, output: Path) -> Outcome:
        """One job in a process of its own: what crashes, crashes alone."""
        began = time.monotonic()
        process = self._begin(source, output)
        if process is None:
            return Outcome(str(source), str(output), "stopped", 0.0)
        last: dict[str, Any] = {}
        assert process.stdout is not None
        for line in process.stdout:
            last = json.loads(line)
            self._console.event(source, output, last)
        code = process.wait()
        with self._lock:
            self._alive.discard(process)
        self._console.ended(source)
        seconds = round(time.monotonic() - began, 3)
        if code == DONE:
            report = last["report"]
            return Outcome(str(source), str(output), "done", seconds, report["frames_in"], report["frames_out"])
        told = last["message"] if last.get("event") == "error" else None
        if code == INTERRUPTED or (self._stopped and told is None):
            return Outcome(str(source), str(output), "stopped", seconds)
        if told is None:
            told = f"the process ended by itself, with code {code}"
            if code < 0:
                told = f"the process was ended by {signal.Signals(-code).name} (out of memory?)"
        return Outcome(str(source), str(output), "failed", seconds, message=told)

    def _begin(self, source: Path, output: Path) -> subprocess.Popen[str] | None:
        job = {"task": self._task, "source": str(source), "output": str(output)}
        job["options"] = self._options | {"threads": self._threads}  # type: ignore[assignment]  # a dict within
        with self._lock:
            if self._stopped:
                return None
            process = subprocess.Popen(
                [sys.executable, "-m", "refilm.cli.main", "one-of-many", "--json"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                # a group of its own, so that a Ctrl-C reaches it once, from us
                process_group=0,
                env=os.environ | ({} if self._threads is None else {"OMP_NUM_THREADS": str(self._threads)}),
            )
            self._alive.add(process)
        assert process.stdin is not None
        with process.stdin as stdin:
            json.dump(job, stdin)
        return process


class BatchConsole:
    """A bar a running job on a terminal, plain lines elsewhere, JSON lines for programs; then a table of all."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._lock = threading.Lock()
        self._bars: dict[Path, TaskID] = {}
        self._progress: Progress | None = None

    def __enter__(self) -> BatchConsole:
        if not self._json and self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def event(self, source: Path, output: Path, event: dict[str, Any]) -> None:
        """What a child says, passed on with the names of its files."""
        with self._lock:
            if self._json:
                print(json.dumps(event | {"input": str(source), "output": str(output)}), flush=True)
            elif event["event"] == "progress" and self._progress is not None:
                if source not in self._bars:
                    self._bars[source] = self._progress.add_task(source.name, said="")
                self._progress.update(
                    self._bars[source], completed=event["frames"], total=event["total"], said=event["line"]
                )
            elif event["event"] == "done":
                self._console.print(f"{source}: done", markup=False)
            else:
                style = {"warning": "yellow", "error": "red"}.get(event["event"])
                self._console.print(f"{source}: {event.get('line', event.get('message'))}", style=style, markup=False)

    def ended(self, source: Path) -> None:
        with self._lock:
            if self._progress is not None and source in self._bars:
                self._progress.remove_task(self._bars.pop(source))

    def summary(self, outcomes: Sequence[Outcome]) -> None:
        """The table that ends it all."""
        if self._json:
            print(json.dumps({"event": "summary", "jobs": [asdict(outcome) for outcome in outcomes]}), flush=True)
            return
        if self._progress is not None:
            self._progress.stop()
        table = Table(box=None, header_style="dim")
        for title in ("input", "result", "frames", "seconds", "output"):
            table.add_column(title, overflow="fold")
        for outcome in outcomes:
            frames = "" if outcome.frames_in is None else f"{outcome.frames_in} to {outcome.frames_out}"
            row = (outcome.source, outcome.state, frames, f"{outcome.seconds:.1f}", outcome.message or outcome.output)
            table.add_row(
                *(Text(cell) for cell in row), style={"failed": "red", "stopped": "yellow"}.get(outcome.state)
            )
        counts = Counter(outcome.state for outcome in outcomes)
        self._console.print(table)
        self._console.print(", ".join(f"{count} {state}" for state, count in counts.items()))
        if "stopped" in counts:
            self._console.print("run the same command again to go on from here")


def cores() -> int:
    """Those this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
