"""The memory that a stage needs, and how it is measured."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

# Safety factor on what small pictures take: for larger ones, other kernels may run.
_MARGIN = 1.1
# Bytes per pixel that are assumed if the system cannot tell a process's peak: more than any model here needs.
_UNMEASURED = 8000.0
_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measured:
    """The memory that some work takes, by measurements.

    points   (pixels of the picture, bytes), from the smallest picture to the largest. Straight lines join them, and the
             last one goes on beyond the largest, but bytes grow no faster than pixels there
    """

    points: tuple[tuple[float, float], ...] = ((1.0, 0.0),)

    def at(self, pixels: float) -> float:
        """Bytes for a picture with so many pixels."""
        places, peaks = zip(*self.points, strict=True)
        proportional = peaks[-1] / places[-1]
        if len(places) == 1:
            return proportional * pixels
        place = next((n for n in range(1, len(places) - 1) if pixels <= places[n]), len(places) - 1)
        slope = (peaks[place] - peaks[place - 1]) / (places[place] - places[place - 1])
        if pixels > places[-1] and not 0 < slope < proportional:  # a slope of 0 or less is no measurement
            slope = proportional
        return max(peaks[place] + slope * (pixels - places[place]), 0.0)


@dataclass(frozen=True)
class Demand:
    """The memory that one stage needs, in bytes.

    name            of the stage, for messages
    held            needed all the time, for the frames that the stage keeps
    around          needed before or after the model runs, for steps on whole pictures such as alignment
    whole           needed while the model runs, whatever the size of the tiles
    at_once         needed while the model runs, by the number of pixels that it sees at once
    width, height   of the stage's input, in pixels
    reach           of the model, see `refilm.models.contract`; None: it cannot work in tiles
    task            of the model, so that an error can name other models for the task
    """

    name: str
    held: float
    around: float = 0.0
    whole: float = 0.0
    at_once: Measured = Measured()
    width: int = 0
    height: int = 0
    reach: int | None = None
    task: str | None = None

    def working(self, tile: int | None) -> float:
        """Bytes needed besides `held` while the stage works on a picture, in tiles of side `tile`; None: no tiles."""
        sides = (self.width, self.height)
        if tile is not None and self.reach is not None:
            sides = (min(self.width, tile + 2 * self.reach), min(self.height, tile + 2 * self.reach))
        return max(self.around, self.whole + self.at_once.at(sides[0] * sides[1]))


def measured(
    given: Callable[[int, int], tuple[Any, ...]],
    run: Callable[..., object],
    sizes: Sequence[tuple[int, int]],
    device: torch.device,
) -> Measured:
    """The memory that `run(*given(width, height))` takes, measured on small pictures of two sizes, (width, height).

    With a margin, since larger pictures may take more.
    """
    if device.type != "cuda" and not _can_be_measured():
        return Measured(((1.0, _UNMEASURED),))
    gc.collect()
    points = {}
    for width, height in sizes:
        peak_of(partial(given, width, height), run, device)  # a first run, for what is allocated only once
        points[width * height] = _MARGIN * peak_of(partial(given, width, height), run, device)
    return Measured(tuple(sorted(points.items())))


@torch.inference_mode()
def peak_of(
    given: Callable[[], tuple[Any, ...]], run: Callable[..., object], device: torch.device, runs: int = 1
) -> float:
    """The bytes that `run(*given())` takes at most in so many runs, besides what was in use before the first."""
    things, peaks, before = given(), list[float](), 0.0
    for number in range(runs):
        if number:
            things = given()
        in_use = _start_of_peak(device)
        if not number:
            before = in_use
        run(*things)
        peaks.append(_end_of_peak(device))
    del things
    give_back()  # so that it does not count as resident in the plan
    return max(max(peaks) - before, 0.0)


def _start_of_peak(device: torch.device) -> float:
    """Begin to watch the peak of the memory in use. -> the memory in use now, in bytes"""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return float(torch.cuda.memory_allocated(device))
    give_back()
    _PEAK.write_text("5")  # resets VmHWM
    return process_status("VmRSS")


def _end_of_peak(device: torch.device) -> float:
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else process_status("VmHWM")


def _can_be_measured() -> bool:
    try:
        _PEAK.write_text("5")
    except OSError:
        return False
    return True


def give_back() -> None:
    """Give memory that is free back to the system, so that what is asked for next does not come on top of it."""
    with suppress(OSError, AttributeError):  # without glibc, some free memory counts as in use
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def process_status(field: str) -> float:
    """A field of /proc/self/status such as VmRSS, in bytes; 0 if the system has none."""
    with suppress(OSError):
        for line in file_lines("/proc/self/status"):
            if line.startswith(field + ":"):
                return 1024.0 * int(line.split()[1])
    return 0.0


def file_lines(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines()
