"""Reading a pack: a folder of short clips, one scene each, with an `index.json` that lists them.

Each entry of the index: file, source, frames, width, height, motion (mean absolute difference of neighbouring frames
at 96x54, of 255), bytes. The clips are video files that FFmpeg decodes, and their colour is read as everywhere in this
package: as tagged, without a bias.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from refilm.errors import RefilmError
from refilm.video import Frame, frames
from refilm.video.colour import to_rgb


@dataclass(frozen=True)
class Clip:
    """One entry of a pack's index."""

    file: str
    source: str
    frames: int
    width: int
    height: int
    motion: float
    bytes: int


def read_index(folder: str | Path) -> list[Clip]:
    """The clips of a pack, in the order of its index. Raises RefilmError when there is no usable index."""
    path = Path(folder) / "index.json"
    try:
        entries = json.loads(path.read_text())
    except FileNotFoundError:
        raise RefilmError(f"{folder}: no pack here, index.json is missing") from None
    except json.JSONDecodeError as error:
        raise RefilmError(f"{path}: not valid JSON ({error})") from None
    names = [field.name for field in fields(Clip)]
    try:
        return [Clip(**{name: entry[name] for name in names}) for entry in entries]
    except (KeyError, TypeError) as error:
        raise RefilmError(f"{path}: every entry needs {', '.join(names)}; missing {error}") from None


def read_clip(path: str | Path, max_frames: int | None = None) -> Tensor:
    """The frames of a clip, or its first ones, as RGB bytes. -> frames_u8 [T, 3, H, W].

    Raises VideoError, a RefilmError, when the file cannot be opened or holds no frame.
    """
    return torch.stack([rgb_u8(frame) for frame in islice(frames(path), max_frames)])


def rgb_u8(frame: Frame) -> Tensor:
    """The frame's picture as bytes. -> [3, H, W]"""
    return to_rgb(frame).mul_(255).round_().clamp_(0, 255).byte()


@dataclass(frozen=True)
class Pack:
    """A pack held in memory: clips of frames_u8 [T, 3, H, W] beside their index entries."""

    clips: list[Clip]
    frames: list[Tensor]

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def bytes(self) -> int:
        """Memory the frames take."""
        return sum(frames.numel() for frames in self.frames)


def read_packs(*folders: str | Path, max_frames: int | None = None, workers: int = 2) -> Pack:
    """Decode whole packs into memory, one after the other; of each clip, at most `max_frames` frames.

    Raises RefilmError as `read_index` and `read_clip` do.
    """
    found = [(Path(folder) / clip.file, clip) for folder in folders for clip in read_index(folder)]
    if not found:
        raise RefilmError(f"{', '.join(map(str, folders))}: no clips listed")
    with ThreadPoolExecutor(workers) as pool:
        frames = list(pool.map(lambda path: read_clip(path, max_frames), [path for path, _ in found]))
    return Pack([clip for _, clip in found], frames)
