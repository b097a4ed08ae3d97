"""The peak of memory: of all processes of a job, at one moment, and what they share counted once."""

from __future__ import annotations

import os
import subprocess
import sys
from mmap import mmap
from pathlib import Path

import pytest

from refilm.jobs.memory_meter import family, in_use

SIZE = 100_000_000
SLACK = 15_000_000
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")

# A process that shares memory, has some of its own if it is told to, and waits to be told to end.
_CHILD = """
import sys
from mmap import mmap
shared = mmap(int(sys.argv[1]), int(sys.argv[2]))
shared[:] = b"s" * len(shared)
own = b"o" * int(sys.argv[3])
print("ready", flush=True)
sys.stdin.read()
"""


def test_memory_that_processes_share_counts_once_and_their_own_is_added():
    memory = os.memfd_create("test")
    os.ftruncate(memory, SIZE)
    shared = mmap(memory, SIZE)
    shared[:] = b"s" * SIZE
    before, _ = in_use(family(os.getpid()))
    for own in (0, SIZE):
        command = [sys.executable, "-c", _CHILD, *map(str, (memory, SIZE, own))]
        with subprocess.Popen(command, pass_fds=[memory], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            assert child.pid in family(os.getpid())
            assert abs(in_use(family(os.getpid()))[0] - before - own) < SLACK
            child.stdin.close()
    os.close(memory)


# Prints what was in use before, and the peak. In a process of its own, since here other tests' memory is released.
_TWICE = """
import os, sys, time
from refilm.jobs.memory_meter import MemoryMeter, family, in_use
size, slack = map(int, sys.argv[1:])
with MemoryMeter() as meter:
    before = sum(in_use(family(os.getpid())))
    for _ in range(2):  # one after the other: their sum was never in use
        held = b"h" * size
        deadline = time.monotonic() + 60
        while meter.peak < before + size - slack and time.monotonic() < deadline:
            time.sleep(0.01)
        del held
print(before, meter.peak)
"""


def test_the_peak_is_that_of_one_moment_and_stays_when_memory_is_released():
    command = [sys.executable, "-c", _TWICE, str(SIZE), str(SLACK)]
    before, peak = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert before + SIZE - SLACK <= peak < before + 2 * SIZE - SLACK
