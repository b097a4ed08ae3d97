"""What a job needs of memory, and the largest tiles with which it stays under its budget.

What the stages need they say themselves (`stages/demand.py`). The other figures are counted, but for the encoders',
which `benchmarks/memory.py --encoders` measures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from refilm.errors import JobError, UsageError
from refilm.models import tiled_models
from refilm.stages.demand import Demand, file_lines, process_status
from refilm.video import PixelFormat, VideoInfo
from refilm.video.encoder import EncoderSettings

# Sides of tiles, input pixels, tried from the largest; below the last one nearly all work would go into the margins.
TILES = (1024, 768, 512, 384, 256, 192, 128, 96, 64)
# Frames that wait between decoding, computing and encoding; the smaller number where memory is short.
QUEUES = (8, 2)
# Interpreter and libraries of the reading process, and what codecs take whatever the size of the picture.
_READER, _CODECS = 80e6, 60e6
# Pictures in the decoder: those it refers to, one for each thread, and those on their way through shared memory.
_REFERENCES, _SLOTS = 6, 3

# Bytes of memory an encoder takes for each byte of a picture, by the fastest preset that takes as much.
_ENCODERS: dict[str, dict[str, float]] = {
    "libx264": {"superfast": 24, "veryfast": 70, "medium": 155, "slow": 190, "placebo": 280},
    "libx265": {"veryfast": 135, "medium": 215, "placebo": 240},
    "libvpx-vp9": {"": 140},
    "libsvtav1": {"": 330},
    "ffv1": {"": 40},
    "png": {"": 20},
    "tiff": {"": 20},
}
_PRESETS = "ultrafast superfast veryfast faster fast medium slow slower veryslow placebo".split()  # noqa: SIM905
_UNKNOWN_ENCODER = 330.0


@dataclass(frozen=True)
class Plan:
    """tile   side in pixels, None for whole pictures;   queue   frames that wait between the threads of a job"""

    tile: int | None
    queue: int


def make_plan(
    demands: Sequence[Demand],
    tiles: Sequence[int | None],
    budget: float,
    around: Callable[[int], float],
) -> Plan:
    """The first of `tiles` that fits, with the longer queue if that fits too. JobError if none does.

    around   bytes that the rest of the job takes, with a queue of that length
    """

    def total(tile: int | None, queue: int) -> float:
        held = sum(demand.held for demand in demands)
        return around(queue) + held + max((demand.working(tile) for demand in demands), default=0.0)

    for queue in QUEUES:
        for tile in tiles:
            if total(tile, queue) <= budget:
                return Plan(tile, queue)
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
    """The tiles that may be taken: the one that is wanted, or whole pictures and then all that are smaller."""
    if wanted is not None:
        return (wanted,)
    side = max((max(demand.width, demand.height) for demand in demands if demand.reach is not None), default=0)
    return (None, *(tile for tile in TILES if tile < side))


def around_stages(source: VideoInfo, context: int, writing: float, result: float) -> Callable[[int], float]:
    """Bytes that all but the stages take, by the length of the queues.

    context           frames of the source that are kept for the stages
    writing, result   bytes that the sink takes, and that one item takes while it waits for it
    """
    before = resident()
    picture = picture_bytes(source.format, source.width, source.height)
    cores = min(os.cpu_count() or 1, 16)
    fixed = before + _READER + _CODECS + (_REFERENCES + cores + _SLOTS) * picture + (context + 2) * picture
    fixed += writing
    return lambda queue: fixed + queue * (picture + result)


def picture_bytes(held: PixelFormat, width: int, height: int) -> int:
    """Of a picture's samples."""
    return sum(rows * columns for rows, columns in held.plane_shapes(height, width)) * (1 if held.bits == 8 else 2)


def amount(text: str | float) -> float:
    """ "4GB", "800 MB", "1.5GiB" or a number of bytes -> bytes"""
    units = {"": 1.0} | {
        f"{p}{b}": base**n for n, p in enumerate("kmgt", 1) for b, base in (("b", 1e3), ("ib", 1024.0))
    }
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(text).lower())
    if found is None or found[2] not in units or float(found[1]) == 0:
        raise UsageError(f"wanted an amount of memory such as 4GB or 800MB, got {text!r}")
    return float(found[1]) * units[found[2]]


def free_memory(device: torch.device) -> float:
    """Bytes that are free: on the device, or in this machine or container."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    with suppress(OSError):
        free += [
            1024.0 * int(line.split()[1]) for line in file_lines("/proc/meminfo") if line.startswith("MemAvailable")
        ]
    # what a container may take, less what it cannot give back
    for limit, used in (("memory.max", "anon"), ("memory/memory.limit_in_bytes", "total_rss")):
        path = Path("/sys/fs/cgroup", limit)
        with suppress(OSError, ValueError, KeyError):  # not there, or "max"
            counts = dict(line.split() for line in file_lines(path.with_name("memory.stat")))
            free.append(float(int(file_lines(path)[0]) - int(counts[used])))
    return min(free)


def resident() -> float:
    """Bytes of this process in memory."""
    return process_status("VmRSS") or 400e6


def encoder_pictures(encoder: EncoderSettings) -> float:
    """How many times the bytes of a picture this encoder takes."""
    by_preset = _ENCODERS.get(encoder.codec)
    if by_preset is None:
        return _UNKNOWN_ENCODER
    preset = encoder.options.get("preset", "medium")
    place = _PRESETS.index(preset) if preset in _PRESETS else 0
    return next(
        (taken for name, taken in by_preset.items() if name not in _PRESETS or _PRESETS.index(name) >= place),
        _UNKNOWN_ENCODER,
    )


def _amount(number: float) -> str:
    return f"{number / 1e9:.2f} GB"
