"""Reading a pack: a folder of short clips, one scene each, with an `index.json` that lists them. Other sets as well.

Each entry of the index: file, source, frames, width, height, motion (mean absolute difference of neighbouring frames
at 96x54, of 255), bytes. The clips are video files that FFmpeg decodes, and their colour is read as everywhere in this
package: as tagged, without a bias.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import chain, islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.data.layouts import Footage, find_footage
from refilm.errors import RefilmError
from refilm.video import Frame
from refilm.video.decoder import Decoder


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
    return _read([Path(path)], max_frames)


def _read(files: Iterable[Path], max_frames: int | None) -> Tensor:
    """The frames of a clip in one file or several. -> frames_u8 [T, 3, H, W]"""
    # sets are one's own files, thousands of short ones: a process for each would take longer than reading them
    decoders = (Decoder(path, None, on_packet=lambda: None) for path in files)
    frames = chain.from_iterable(decoder.frames(None) for decoder in decoders)
    return torch.stack([rgb_u8(frame) for frame, _ in islice(frames, max_frames)])


def rgb_u8(frame: Frame) -> Tensor:
    """The frame's picture as bytes. -> [3, H, W]"""
    return frame.rgb.mul_(255).round_().clamp_(0, 255).byte()


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


def motion(before: np.ndarray, after: np.ndarray) -> float:
    """The mean absolute difference of two thumbnails, of 255."""
    return float(np.abs(before.astype(np.float32) - after).mean())


def thumbnail(picture_u8: Tensor) -> np.ndarray:
    """What motion is measured on. [3, H, W] -> gray bytes [54, 96]"""
    small = cv2.resize(picture_u8.permute(1, 2, 0).numpy(), (96, 54), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def mean_motion(frames_u8: Tensor) -> float:
    """The mean over neighbours of a clip [T, 3, H, W]; 0 for a single frame."""
    thumbnails = [thumbnail(picture) for picture in frames_u8]
    return float(np.mean([motion(*pair) for pair in pairwise(thumbnails)] or [0.0]))


def read_packs(*folders: str | Path, max_frames: int | None = None, workers: int = 2) -> Pack:
    """Decode whole sets into memory, one after the other; of each clip, at most `max_frames` frames.

    folders   packs, or the training split of any set that `find_footage` knows, if it is small enough
    Raises RefilmError where a folder holds none, or a clip cannot be read.
    """
    found = [entry for folder in folders for entry in _entries(Path(folder))]
    if not found:
        raise RefilmError(f"{', '.join(map(str, folders))}: no clips listed")

    def read(entry: tuple[Footage, Clip | None]) -> tuple[Clip, Tensor]:
        footage, clip = entry
        pictures = _read(footage.files, max_frames)
        return clip or _described(footage, pictures), pictures

    with ThreadPoolExecutor(workers) as pool:
        clips, pictures = zip(*pool.map(read, found), strict=True)
    return Pack(list(clips), list(pictures))


def _entries(folder: Path) -> list[tuple[Footage, Clip | None]]:
    if (folder / "index.json").exists():
        return [(Footage(clip.source, (folder / clip.file,)), clip) for clip in read_index(folder)]
    return [(footage, None) for footage in find_footage(folder)]


def _described(footage: Footage, pictures: Tensor) -> Clip:
    """An index entry for a clip that comes without one."""
    count, _, height, width = pictures.shape
    size = sum(path.stat().st_size for path in footage.files)
    return Clip(footage.files[0].name, footage.source, count, width, height, mean_motion(pictures), size)
