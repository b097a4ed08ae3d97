"""Idle threads that sleep instead of spinning, in any program that runs models.

OpenMP's idle threads spin for some milliseconds, in case that there is more work. Beside a decoder, an encoder or other
programs they take the cores from those, and wait for each other at every operator: on two loaded cores, a frame took
2.5 s instead of 0.5. The command sets OMP_WAIT_POLICY=passive, but that is read when torch is loaded, and a program may
have loaded torch long before.

GNU's OpenMP cuts the spinning to some microseconds while it has more threads than the processor has cores. A team of
threads that did nothing once, and sleeps ever after, is enough for that.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any


@cache
def let_idle_threads_sleep() -> None:
    """Shorten the spinning of OpenMP's idle threads in this process. Does nothing where OpenMP is another than GNU's.

    Results do not change. Called when a model is made.
    """
    if os.environ.get("OMP_WAIT_POLICY") or os.environ.get("GOMP_SPINCOUNT"):
        return  # the user, or the command, has said what is wanted
    libraries: list[Any] = []
    with suppress(OSError, AttributeError):
        maps = Path("/proc/self/maps").read_text()
        for path in sorted(set(re.findall(r"/.*/libgomp[^/\n]*\.so[^/\n]*", maps))):
            libraries.append(ctypes.CDLL(path).GOMP_parallel)
    if libraries:
        threading.Thread(target=_sleep_beside, args=(libraries,), name="refilm-idle", daemon=True).start()


def _sleep_beside(libraries: list[Any]) -> None:
    """Start a team of threads, one more than there are cores, and keep it: a team lives as long as its first thread."""
    nothing = ctypes.CDLL(None).free  # of a null pointer does nothing
    for parallel in libraries:
        parallel(nothing, None, (os.cpu_count() or 1) + 1, 0)
    threading.Event().wait()
