"""The pictures of a folder or a film, small and in memory: what a space for `refilm morph` is learned from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.data.layouts import PICTURES, VIDEOS
from refilm.errors import RefilmError
from refilm.video import Frame, VideoReader, frames

LEAST = 24  # pictures, of which less than a path between two of them can be learned


def read_pictures(path: Path, most: int, side: int, multiple: int) -> Tensor:
    """Up to `most` pictures of a film, or of a folder of pictures and films, evenly spread and reduced in size.

    side       about which the longer side becomes, in pixels
    multiple   of which both sides are
    out        [N, 3, h, w], RGB in [0, 1]; all have the proportions of the first, as far as `multiple` allows

    Raises RefilmError if there are fewer than LEAST, VideoError for a file that cannot be read.
    """
    size: tuple[int, int] | None = None
    found: list[Tensor] = []
    for frame in _spread(path, most):
        size = size or small_size(frame.height, frame.width, side, multiple)
        found.append(reduced(frame.rgb, size))
    if len(found) < LEAST:
        raise RefilmError(
            f"{path}: holds {len(found)} picture{'s' * (len(found) != 1)}, and a space is learned from at least "
            f"{LEAST}; give a film, or a folder of more"
        )
    return torch.stack(found)


def small_size(height: int, width: int, side: int, multiple: int) -> tuple[int, int]:
    """(h, w) with a longer side of about `side` and the proportions of (height, width), both multiples."""
    scale = side / max(height, width)
    return tuple(max(1, round(scale * length / multiple)) * multiple for length in (height, width))  # type: ignore[return-value]


def reduced(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture [3, H, W] at another size, by averaging; enlarged, where it is smaller. -> [3, h, w], in [0, 1]"""
    return F.interpolate(picture[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def _spread(path: Path, most: int) -> Iterator[Frame]:
    """Evenly spread frames of all files, each of which gives the same number."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES | VIDEOS)
    if not files:
        raise RefilmError(f"{path}: {'holds no picture or film' if path.is_dir() else 'no such file or folder'}")
    files = files[:: -(-len(files) // most)]
    for file in files:
        yield from _of_file(file, max(1, most // len(files)))


def _of_file(file: Path, most: int) -> Iterator[Frame]:
    with VideoReader(file) as reader:
        count = reader.info.frames or 0
    step = max(1, -(-count // most))
    yield from itertools.islice(itertools.islice(frames(file), 0, None, step), most)
