"""One command for many inputs: finding them, naming the outputs, and running a process for each."""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from refilm.errors import DONE, INTERRUPTED, JobError, UsageError, VideoError
from refilm.video.encoder import PICTURE_CODECS
from refilm.video.joining import WRITABLE
from refilm.video.picture_sequence import PictureSequence

# Endings of the files in a folder that are taken as videos. A file that is named itself may have any ending.
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip


# The same for pictures, which are taken from a folder without videos.
PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_WRITABLE = sorted({*WRITABLE, *PICTURE_CODECS})


@dataclass(frozen=True)
class Outcome:
    """How one of many jobs ended.

    state     "done", "failed" or "stopped"
    seconds   that it took
    message   the error, if it failed
    """

    source: str
    output: str
    state: str
    seconds: float
    frames_in: int | None = None
    frames_out: int | None = None
    message: str | None = None


class Listener(Protocol):
    """Receives the events of the jobs. Its methods are called from several threads."""

    def event(self, source: Path, output: Path, event: dict[str, Any]) -> None:
        """Called with each line that the job's process prints, as with `refilm COMMAND --json`."""
        ...

    def ended(self, source: Path) -> None:
        """Called when the job's process has ended."""
        ...


def run_many(
    verb: str, pairs: Sequence[tuple[Path, Path]], options: dict[str, Any], jobs: int, listener: Listener
) -> list[Outcome]:
    """Run several jobs, each in a process of its own, and return how each of them ended.

    verb      name of the function in `refilm.api`
    pairs     (input, output), see `plan`
    options   keywords of the function, in JSON's types
    jobs      number of jobs at a time

    If a job fails, the others go on. Ctrl-C stops all; the same call then continues, and leaves finished outputs as
    they are.
    """
    if jobs > 1:
        options = options | {"max_memory": _share_of_memory(options, jobs)}
    with Children(verb, options, jobs, listener) as children, ThreadPoolExecutor(jobs) as threads:
        results = [threads.submit(children.run, *pair) for pair in pairs]
        try:
            for result in results:
                result.result()
        except KeyboardInterrupt:
            children.stop()
        return [result.result() for result in results]


def _share_of_memory(options: dict[str, Any], jobs: int) -> float | None:
    """Bytes that each of `jobs` jobs may take; None on another device than the CPU, where each job finds out itself."""
    import torch

    from refilm.jobs.budget import amount, free_memory

    if options.get("max_memory") is not None:
        return amount(options["max_memory"]) / jobs
    return 0.75 * free_memory(torch.device("cpu")) / jobs if options.get("device", "cpu") == "cpu" else None


def plan(
    inputs: Sequence[Path], folder: Path, suffix: str | None, endings: Sequence[str] | None = None
) -> list[tuple[Path, Path]]:
    """(input, output) for each video among `inputs`, without duplicates, in their order.

    inputs   files, folders of videos or of pictures, patterns such as "day*.mp4", and picture sequences
    folder   the folder of the outputs. An output has the name of its input; for a picture sequence, of its folder
    suffix   ending of the outputs; None: that of the input, or if refilm cannot write that, .mkv, for a picture .png
    endings  those that outputs may have; None: those of videos and pictures

    Raises UsageError for an ending that cannot be written, and if two inputs would have the same output; JobError if
    `folder` is not one, or an output would be its input; VideoError if a folder or pattern has no videos.
    """
    writable = endings or _WRITABLE
    if suffix is not None and suffix.lower() not in writable:
        raise UsageError(f"--suffix must be one of {', '.join(writable)}, got {suffix!r}")
    if not inputs:
        raise UsageError("--output-dir wants at least one input: a file, a folder of videos, or a pattern")
    if folder.exists() and not folder.is_dir():
        raise JobError(f"{folder}: is not a folder; outputs go into one")
    pairs: dict[Path, Path] = {}
    for source in (file for path in inputs for file in videos(path)):
        output = _output_name(source, folder, suffix)
        if output.exists() and source.exists() and output.samefile(source):
            raise JobError(f"{folder}: holds the input {source.name}; choose another --output-dir")
        known = pairs.setdefault(output, source)
        if known.resolve() != source.resolve():
            raise UsageError(f"{known} and {source} would both become {output}; rename one, or run them apart")
    return [(source, output) for output, source in pairs.items()]


def videos(path: Path) -> list[Path]:
    """The videos that a path means: a folder's, those that match a pattern, or itself. Raises VideoError if none."""
    if path.is_dir():
        for endings in (VIDEO_SUFFIXES, PICTURE_SUFFIXES):
            if found := sorted(file for file in path.iterdir() if file.suffix.lower() in endings and file.is_file()):
                return found
        looked_for = ", ".join(VIDEO_SUFFIXES + PICTURE_SUFFIXES)
        raise VideoError(f"{path}: holds no video file and no picture (looked for {looked_for})")
    if path.exists() or PictureSequence.of(path) or glob.escape(str(path)) == str(path):
        return [path]  # if it does not exist, its own job fails
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise VideoError(f"{path}: no such file: nothing matches this pattern")
    return found


def _output_name(source: Path, folder: Path, suffix: str | None) -> Path:
    if PictureSequence.of(source):
        return folder / (source.parent.resolve().name + (suffix or ".mkv"))
    if suffix is None:
        other = ".png" if source.suffix.lower() in PICTURE_SUFFIXES else ".mkv"
        suffix = source.suffix if source.suffix.lower() in _WRITABLE else other
    return folder / (source.stem + suffix)


class Children:
    """The running processes. A context manager that kills those that still run at its end."""

    def __init__(self, verb: str, options: dict[str, Any], jobs: int, listener: Listener) -> None:
        self._verb, self._options, self._listener = verb, options, listener
        self._threads = options.get("threads") or (max(1, cores() // jobs) if jobs > 1 else None)
        self._alive: set[subprocess.Popen[str]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)

    def stop(self, how: int = signal.SIGINT) -> None:
        """Send a signal to all processes, and start no more."""
        with self._lock:
            self._stopped = True
            for process in self._alive:
                process.send_signal(how)

    def run(self, source: Path, output: Path) -> Outcome:
        """Run one job in a process of its own, so that a crash does not affect the others, and wait for its end."""
        began = time.monotonic()
        process = self._begin(source, output)
        if process is None:
            return Outcome(str(source), str(output), "stopped", 0.0)
        last: dict[str, Any] = {}
        assert process.stdout is not None
        for line in process.stdout:
            last = json.loads(line)
            self._listener.event(source, output, last)
        code = process.wait()
        with self._lock:
            self._alive.discard(process)
        self._listener.ended(source)
        seconds = round(time.monotonic() - began, 3)
        if code == DONE:
            report = last.get("report", {})  # none of a film that asks for nothing
            return Outcome(str(source), str(output), "done", seconds, report.get("frames_in"), report.get("frames_out"))
        told = last["message"] if last.get("event") == "error" else None
        if code == INTERRUPTED or (self._stopped and told is None):
            return Outcome(str(source), str(output), "stopped", seconds)
        if told is None:
            told = f"the process ended by itself, with code {code}"
            if code < 0:
                told = f"the process was ended by {signal.Signals(-code).name} (out of memory?)"
        return Outcome(str(source), str(output), "failed", seconds, message=told)

    def _begin(self, source: Path, output: Path) -> subprocess.Popen[str] | None:
        job = {"verb": self._verb, "source": str(source), "output": str(output)}
        job["options"] = self._options | {"threads": self._threads}  # type: ignore[assignment]  # a dict within
        with self._lock:
            if self._stopped:
                return None
            process = subprocess.Popen(
                [sys.executable, "-m", "refilm.cli.main", "one-of-many", "--json"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                # in a group of its own, so that Ctrl-C reaches it only through `stop`
                process_group=0,
                env=os.environ | ({} if self._threads is None else {"OMP_NUM_THREADS": str(self._threads)}),
            )
            self._alive.add(process)
        assert process.stdin is not None
        with process.stdin as stdin:
            json.dump(job, stdin)
        return process


def cores() -> int:
    """The number of processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
