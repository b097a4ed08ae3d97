"""What a stage needs of memory: counted where that can be done, measured on a small picture where it cannot."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

# A model is measured on a picture of this side, or on the whole where that is smaller.
_MEASURED_SIDE = 192
# What the measured side does not show: other kernels for other sizes, memory the allocator keeps.
_MARGIN = 1.15
# Bytes a pixel where the system does not tell a process's peak: more than any model here takes.
_UNMEASURED = 8000.0


@dataclass(frozen=True)
class Demand:
    """Bytes that one stage needs.

    name        of the model, or of the stage, for messages
    held        throughout
    around      for a picture as a whole, before its model sees it or after
    whole       while its model works on a picture, whatever the tile
    per_pixel   for each pixel that its model sees at once, with that part of its input and result
    width, height, reach   of the pictures that it is fed, and of the model: None sees the whole picture
    task        of its model, so that others can be named where this one does not fit
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
        """While it works on a picture in tiles of that side."""
        sides = (self.width, self.height)
        if tile is not None and self.reach is not None:
            sides = (min(self.width, tile + 2 * self.reach), min(self.height, tile + 2 * self.reach))
        return _MARGIN * max(self.around, self.whole + self.per_pixel * sides[0] * sides[1])


def measured(run: Callable[[int, int], object], width: int, height: int, multiple: int, device: torch.device) -> float:
    """Bytes for each pixel that `run(width, height)` takes at its height, judged by a small picture.

    multiple   that sides must have
    """
    width, height = (-(-min(side, _MEASURED_SIDE) // multiple) * multiple for side in (width, height))
    run(width, height)  # what is only made once
    return _peak(lambda: run(width, height), device) / (width * height)


def _peak(run: Callable[[], object], device: torch.device) -> float:
    """How much more memory is in use while `run` runs than before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return float(torch.cuda.max_memory_allocated(device) - before)
    gc.collect()
    with suppress(OSError, AttributeError):  # not glibc: then some of what is free counts as in use
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        return _UNMEASURED * _MEASURED_SIDE**2
    before_bytes = process_status("VmRSS")
    run()
    return max(process_status("VmHWM") - before_bytes, 0.0)


def process_status(field: str) -> float:
    with suppress(OSError):
        for line in file_lines("/proc/self/status"):
            if line.startswith(field + ":"):
                return 1024.0 * int(line.split()[1])
    return 0.0


def file_lines(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines()
