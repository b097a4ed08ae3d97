"""Films of flat pictures, whose levels tell what was done to them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np

import refilm


def write_levels(path: Path, levels: Iterable[int], size: tuple[int, int] = (32, 48)) -> Path:
    """A lossless film of 25 frames a second, each of one luma level; height and width."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for level in levels:
            samples = np.full((size[0] * 3 // 2, size[1]), 128, np.uint8)
            samples[: size[0]] = level
            container.mux(stream.encode(av.VideoFrame.from_ndarray(samples, format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def write_labelled(folder: Path, rows: Iterable[tuple[str, str, int, Sequence[int]]]) -> Path:
    """A set of labelled films: (name, label, serial number, levels) of each, in index.csv. -> `folder`, which is new"""
    folder.mkdir()
    with (folder / "index.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "label", "serial"))
        for name, label, serial, levels in rows:
            write_levels(folder / name, levels)
            table.writerow((name, label, serial))
    return folder


def read_levels(path: Path) -> list[int]:
    """The luma level of each frame."""
    levels = []
    for frame in refilm.open(path):
        assert np.ptp(frame.planes[0]) == 0
        levels.append(int(frame.planes[0][0, 0]))
    return levels


def ramps(start: int, steps: Sequence[tuple[int, int]]) -> list[int]:
    """From `start` on, so many frames with such a step from each to the next, for each (count, step)."""
    levels = [start]
    for count, step in steps:
        levels += [levels[-1] + step * (n + 1) for n in range(count)]
    return levels
