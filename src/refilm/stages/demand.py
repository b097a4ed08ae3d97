"""The memory that a stage needs: computed where possible, otherwise measured on a small picture."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

# Side, in pixels, of the picture on which a model is measured; smaller if the video is smaller.
_MEASURED_SIDE = 192
# Safety factor: for larger pictures, other kernels may run, and the allocator may keep more memory.
_MARGIN = 1.15
# Bytes per pixel that are assumed if the system cannot tell a process's peak: more than any model here needs.
_UNMEASURED = 8000.0


@dataclass(frozen=True)
class Demand:
    """The memory that one stage needs, in bytes.

    name            of the stage, for messages
    held            needed all the time, for the frames that the stage keeps
    around          needed before or after the model runs, for steps on whole pictures such as alignment
    whole           needed while the model runs, for a whole picture, whatever the size of the tiles
    per_pixel       needed while the model runs, for each pixel that it sees at once
    width, height   of the stage's input, in pixels
    reach           of the model, see `refilm.models.contract`; None: it cannot work in tiles
    task            of the model, so that an error can name other models for the task
    """

    name: str
    held: float
    around: float = 0.0
    whole: float = 0.0
    per_pixel: float = 0.0
    width: int = 0
    height: int = 0
    reach: int | None = None
    task: str | None = None

    def working(self, tile: int | None) -> float:
        """Bytes needed besides `held` while the stage works on a picture, in tiles of side `tile`; None: no tiles."""
        sides = (self.width, self.height)
        if tile is not None and self.reach is not None:
            sides = (min(self.width, tile + 2 * self.reach), min(self.height, tile + 2 * self.reach))
        return _MARGIN * max(self.around, self.whole + self.per_pixel * sides[0] * sides[1])


def measured(run: Callable[[int, int], object], width: int, height: int, multiple: int, device: torch.device) -> float:
    """The peak memory of `run(width, height)`, in bytes per pixel, measured on a small picture.

    multiple   sides of the picture are rounded up to multiples of this
    """
    width, height = (-(-min(side, _MEASURED_SIDE) // multiple) * multiple for side in (width, height))
    run(width, height)  # a first run, for what is allocated only once
    return _peak(lambda: run(width, height), device) / (width * height)


def _peak(run: Callable[[], object], device: torch.device) -> float:
    """The peak memory while `run` runs, less the memory in use before, in bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return float(torch.cuda.max_memory_allocated(device) - before)
    gc.collect()
    with suppress(OSError, AttributeError):  # without glibc, some free memory counts as in use
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak, VmHWM
    except OSError:
        return _UNMEASURED * _MEASURED_SIDE**2
    before_bytes = process_status("VmRSS")
    run()
    return max(process_status("VmHWM") - before_bytes, 0.0)


def process_status(field: str) -> float:
    """A field of /proc/self/status such as VmRSS, in bytes; 0 if the system has none."""
    with suppress(OSError):
        for line in file_lines("/proc/self/status"):
            if line.startswith(field + ":"):
                return 1024.0 * int(line.split()[1])
    return 0.0


def file_lines(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines()
