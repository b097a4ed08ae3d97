"""Reading data sets into memory: packs, and other sets that `find_footage` knows.

A pack is a folder of short video files, one scene each, with an `index.json` that lists them; its entries have the
fields of Clip.
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
    """One entry of a pack's index.

    file      name of the file in the pack's folder
    source    name of the film that it was cut from
    motion    mean absolute difference of neighbouring frames, reduced to 96x54, in 8-bit levels
    bytes     size of the file
    """

    file: str
    source: str
    frames: int
    width: int
    height: int
    motion: float
    bytes: int


def read_index(folder: str | Path) -> list[Clip]:
    """The clips of a pack, in the order of its index. Raises RefilmError if there is no valid index."""
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
    """The frames of a video file as uint8 RGB, at most the first `max_frames`. -> frames_u8 [T, 3, H, W]

    Raises VideoError if the file cannot be opened or has no frames.
    """
    return _read([Path(path)], max_frames)


def _read(files: Iterable[Path], max_frames: int | None) -> Tensor:
    """As `read_clip`, for a clip in one file or several."""
    # In this process, not in a child process as for untrusted files: a data set may be thousands of short files, and
    # starting a process for each would take longer than reading it.
    decoders = (Decoder(path, None, on_packet=lambda: None) for path in files)
    frames = chain.from_iterable(decoder.frames(None) for decoder in decoders)
    return torch.stack([rgb_u8(frame) for frame, _ in islice(frames, max_frames)])


def rgb_u8(frame: Frame) -> Tensor:
    """The frame as uint8 RGB. -> [3, H, W]"""
    return frame.rgb.mul_(255).round_().clamp_(0, 255).byte()


@dataclass(frozen=True)
class Pack:
    """A data set in memory.

    clips    the entries of the index
    frames   for each clip, frames_u8 [T, 3, H, W], RGB
    """

    clips: list[Clip]
    frames: list[Tensor]

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def bytes(self) -> int:
        """Memory that the frames take."""
        return sum(frames.numel() for frames in self.frames)


def motion(before: np.ndarray, after: np.ndarray) -> float:
    """The mean absolute difference of two thumbnails, in 8-bit levels."""
    return float(np.abs(before.astype(np.float32) - after).mean())


def thumbnail(picture_u8: Tensor) -> np.ndarray:
    """The reduced frame on which motion is measured. uint8 RGB [3, H, W] -> uint8 gray [54, 96]"""
    small = cv2.resize(picture_u8.permute(1, 2, 0).numpy(), (96, 54), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def mean_motion(frames_u8: Tensor) -> float:
    """The mean `motion` between neighbouring frames of a clip [T, 3, H, W], uint8; 0 for a single frame."""
    thumbnails = [thumbnail(picture) for picture in frames_u8]
    return float(np.mean([motion(*pair) for pair in pairwise(thumbnails)] or [0.0]))


def read_packs(*folders: str | Path, max_frames: int | None = None, workers: int = 2) -> Pack:
    """Decode data sets into memory, as one Pack.

    folders     packs, or other sets that `find_footage` knows, of which the training split is read
    max_frames  frames read of each clip, at most
    workers     threads that decode

    Raises RefilmError if a folder has no clips, or if a clip cannot be read.
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
    """The index entry for a clip of a set that is no pack. pictures: uint8 [T, 3, H, W]"""
    count, _, height, width = pictures.shape
    size = sum(path.stat().st_size for path in footage.files)
    return Clip(footage.files[0].name, footage.source, count, width, height, mean_motion(pictures), size)
