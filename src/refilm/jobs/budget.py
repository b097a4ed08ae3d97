"""The memory that a job needs, and the largest tiles with which it stays within its budget.

The stages state their own needs (`stages/demand.py`). The rest is computed here. The figures of encoders were measured
by `benchmarks/memory.py --encoders`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from refilm.errors import JobError, UsageError
from refilm.models import tiled_models
from refilm.stages.demand import Demand, file_lines, process_status
from refilm.video import PixelFormat, VideoInfo
from refilm.video.encoder import EncoderSettings
from refilm.video.encoder_limits import PRESETS
from refilm.video.pixel_format import held_format

# Sides of tiles in input pixels, tried from the largest. With smaller ones, nearly all work would be in the margins.
TILES = (1024, 768, 512, 384, 256, 192, 128, 96, 64)
# Frames that may wait between decoding and computing, and between computing and encoding; the second if memory is
# short.
QUEUES = (8, 2)
# Bytes for the interpreter and libraries of the reading process, for codecs, and for what the libraries of this process
# keep once they have computed, whatever the size of the frames.
_READER, _CODECS, _LIBRARIES = 80e6, 60e6, 60e6
# Frames in the decoder, besides one for each thread: reference frames, and those in shared memory.
_REFERENCES, _SLOTS = 6, 3

# Memory of an encoder in bytes per byte of a frame with its border, by the slowest preset for which it holds; "": for
# all presets.
_ENCODERS: dict[str, dict[str, float]] = {
    "libx264": {"superfast": 20, "veryfast": 60, "medium": 130, "slow": 160, "placebo": 240},
    "libx265": {"veryfast": 135, "medium": 215, "placebo": 240},
    "libvpx-vp9": {"": 140},
    "libsvtav1": {"": 330},
    "ffv1": {"": 40},
    "png": {"": 20},
    "tiff": {"": 20},
}
# Pixels that an encoder adds to its frames on each side.
_BORDER = {"libx264": 32}
# What the first frames take of this memory: so many bytes, and so many more for each frame, while an encoder fills up
# the frames that it looks ahead.
_FILLING = {"libx264": (18.0, 3.4), "libx265": (30.0, 7.5), "libsvtav1": (160.0, 2.2)}
# What x265 takes for each thread beyond the two with which it was measured.
_THREAD = {"libx265": 12.0}
_UNKNOWN_ENCODER = 330.0


@dataclass(frozen=True)
class Plan:
    """How a job stays within its memory.

    tile    side of the tiles in pixels; None: no tiles
    queue   frames that may wait between the threads of a job
    memory  that the job then takes at most, in bytes; a measurement, and so not compared
    """

    tile: int | None
    queue: int
    memory: float = field(compare=False)


def make_plan(
    demands: Sequence[Demand],
    tiles: Sequence[int | None],
    budget: float,
    around: Callable[[int], float],
) -> Plan:
    """The plan with the longest queue with which any of `tiles` fits, and the first of these that does.

    demands  of the stages
    tiles    sides of tiles to choose from, in order of preference
    budget   bytes that the job may take
    around   bytes that the rest of the job takes, as a function of the length of the queue

    Raises JobError if none fits; the message names ways out.
    """

    def total(tile: int | None, queue: int) -> float:
        held = sum(demand.held for demand in demands)
        return around(queue) + held + max((demand.working(tile) for demand in demands), default=0.0)

    for queue in QUEUES:
        for tile in tiles:
            if (memory := total(tile, queue)) <= budget:
                return Plan(tile, queue, memory)
    least, rest = total(tiles[-1], QUEUES[-1]), around(QUEUES[-1])
    largest = max(demands, key=lambda demand: demand.held + demand.working(tiles[-1]))
    message = f"this job needs {_amount(least)} of memory and may take {_amount(budget)}: "
    message += f"{largest.name} needs {_amount(largest.held + largest.working(tiles[-1]))}"
    if largest.reach is None:
        message += f", since it sees the whole picture of {largest.width}x{largest.height} at once"
    message += f", everything else {_amount(least - largest.held - largest.working(tiles[-1]))}"
    ways = [f"--max-memory {-(-least * 1.02 // 1e8) / 10:g}GB"]
    if largest.reach is None:
        ways += [f"a model that works in tiles: --model {name}" for name in tiled_models(largest.task)[:1]]
    if rest > least / 2:
        ways.append("a faster --preset, which needs less")
    if tiles == tiles[-1:] and tiles[0] is not None:
        ways.append(f"--restart, if these are the tiles ({tiles[0]}) of an unfinished job")
    raise JobError(f"{message}. Ways out: {'; or '.join(ways)}")


def choices(demands: Sequence[Demand], wanted: int | None) -> tuple[int | None, ...]:
    """Sides of tiles for `make_plan`: the wanted one, or else None (no tiles) and all smaller than the picture."""
    if wanted is not None:
        return (wanted,)
    side = max((max(demand.width, demand.height) for demand in demands if demand.reach is not None), default=0)
    return (None, *(tile for tile in TILES if tile < side))


def around_stages(source: VideoInfo, context: int, writing: float, result: float) -> Callable[[int], float]:
    """The memory of a job without its stages, in bytes, as a function of the length of the queues.

    context   frames of the source that are kept as context
    writing   bytes that the sink needs
    result    bytes of one item that waits to be written
    """
    before = resident()
    picture = picture_bytes(source.format, source.width, source.height)
    cores, frames = min(os.cpu_count() or 1, 16), source.frames or math.inf
    fixed = before + _READER + _CODECS + _LIBRARIES + (_REFERENCES + cores + _SLOTS) * picture + writing
    fixed += min(context + 2, frames) * picture
    return lambda queue: fixed + min(queue, frames) * (picture + result)


def picture_bytes(held: PixelFormat, width: int, height: int) -> int:
    """Bytes of a frame's samples."""
    return sum(rows * columns for rows, columns in held.plane_shapes(height, width)) * (1 if held.bits == 8 else 2)


def amount(text: str | float) -> float:
    """Bytes from a text such as "4GB", "800 MB" or "1.5GiB", or a number of bytes. Raises UsageError for others."""
    units = {"": 1.0} | {
        f"{p}{b}": base**n for n, p in enumerate("kmgt", 1) for b, base in (("b", 1e3), ("ib", 1024.0))
    }
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(text).lower())
    if found is None or found[2] not in units or float(found[1]) == 0:
        raise UsageError(f"wanted an amount of memory such as 4GB or 800MB, got {text!r}")
    return float(found[1]) * units[found[2]]


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a GPU, or on this machine and in its container."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    with suppress(OSError):
        free += [
            1024.0 * int(line.split()[1]) for line in file_lines("/proc/meminfo") if line.startswith("MemAvailable")
        ]
    # the limit of a container, less the memory that it cannot release
    for limit, used in (("memory.max", "anon"), ("memory/memory.limit_in_bytes", "total_rss")):
        path = Path("/sys/fs/cgroup", limit)
        with suppress(OSError, ValueError, KeyError):  # no such file, or no limit ("max")
            counts = dict(line.split() for line in file_lines(path.with_name("memory.stat")))
            free.append(float(int(file_lines(path)[0]) - int(counts[used])))
    return min(free)


def resident() -> float:
    """Resident memory of this process, in bytes."""
    return process_status("VmRSS") or 400e6


def encoder_memory(encoder: EncoderSettings, frames: float | None) -> float:
    """Memory of an encoder, in bytes. `frames`: how many it is given; None: not known, many."""
    most = _UNKNOWN_ENCODER
    if (by_preset := _ENCODERS.get(encoder.codec)) is not None:
        preset = encoder.options.get("preset", "medium")
        place = PRESETS.index(preset) if preset in PRESETS else 0
        fitting = (taken for name, taken in by_preset.items() if name not in PRESETS or PRESETS.index(name) >= place)
        most = next(fitting, _UNKNOWN_ENCODER)
    if frames is not None and encoder.codec in _FILLING:
        first, each = _FILLING[encoder.codec]
        most = min(most, first + each * frames)
    most += _THREAD.get(encoder.codec, 0) * max(encoder.threads - 2, 0)
    added = 2 * _BORDER.get(encoder.codec, 0)
    return most * picture_bytes(held_format(encoder.format), encoder.width + added, encoder.height + added)


def _amount(number: float) -> str:
    return f"{number / 1e9:.2f} GB"
