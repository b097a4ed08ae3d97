"""The peak memory of a job: of this process and all that it has started, at one moment.

The sum of the processes' own peaks would be too much, because the reading process and this one share pictures and
libraries, and do not have their peaks at the same time.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_INTERVAL = 0.02  # seconds between two samples
_SAMPLES_A_SEARCH = 25  # samples after which processes are searched for again


class Resident(NamedTuple):
    """The memory that a process has in use, in bytes: its own, files such as libraries, and what it shares."""

    own: int
    files: int
    shared: int


class MemoryMeter:
    """Measures while it is open, in a thread of its own. A context manager.

    root   the process whose memory, and that of all it has started, is measured; None: this one

    peak   bytes so far. Files and shared memory are counted once, as the most that any of the processes has in use of
           them; files as the most at any time, since a busy system takes their pages back. Where the system does not
           tell (it has no /proc), the sum of the peaks of this process and of its largest child that has ended
    """

    def __init__(self, root: int | None = None) -> None:
        self._root = os.getpid() if root is None else root
        self._peak = self._files = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="refilm-memory", daemon=True)

    def __enter__(self) -> MemoryMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peak(self) -> int:
        return self._peak + self._files if self._peak else _sum_of_peaks()

    def _measure(self) -> None:
        while True:
            processes = family(self._root)
            for _ in range(_SAMPLES_A_SEARCH):
                memory, files = in_use(processes)
                self._peak, self._files = max(self._peak, memory), max(self._files, files)
                if self._ended.wait(_INTERVAL):
                    return


def in_use(processes: list[int]) -> tuple[int, int]:
    """Bytes that processes have in use together: memory, and files such as libraries; 0 if the system does not tell."""
    found = [resident for resident in map(_resident, processes) if resident is not None]
    own = sum(resident.own for resident in found)
    return own + max((r.shared for r in found), default=0), max((r.files for r in found), default=0)


def family(root: int) -> list[int]:
    """A process and all that it has started, directly or not."""
    found = [root]
    for process in found:  # which grows
        with suppress(OSError):  # it has ended
            for task in Path(f"/proc/{process}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _resident(process: int) -> Resident | None:
    """None if the process has ended, or the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    told = dict(line.split(":", 1) for line in lines if line.startswith("Rss"))
    if len(told) < len(Resident._fields):
        return None
    return Resident(*(1024 * int(told[name].split()[0]) for name in ("RssAnon", "RssFile", "RssShmem")))


def _sum_of_peaks() -> int:
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak if sys.platform == "darwin" else 1024 * peak
