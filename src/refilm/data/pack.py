"""Reading data sets into memory: packs, and other sets that `find_footage` knows.

A pack is a folder of short video files, one scene each, with an `index.json` that lists them; its entries have the
fields of Clip.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import chain, islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.data.layouts import Footage, find_footage, has_splits, parts_of
from refilm.errors import RefilmError
from refilm.video import Frame
from refilm.video.decoder import Decoder

LONGEST_CLIP = 300  # frames of a clip that is not in a pack, at most
_ASIDE = 8  # of so many films without splits, one is set aside for testing


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
    return read_footage(Footage(str(path), (Path(path),)), max_frames)


def read_footage(footage: Footage, max_frames: int | None = None) -> Tensor:
    """As `read_clip`, for a clip in one file or several."""
    # In this process, not in a child process as for untrusted files: a data set may be thousands of short files, and
    # starting a process for each would take longer than reading it.
    decoders = (Decoder(path, None, on_packet=lambda: None) for path in footage.files)
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

    def __getitem__(self, part: slice) -> Pack:
        return Pack(self.clips[part], self.frames[part])

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


@dataclass(frozen=True)
class Limits:
    """What is read of a data set.

    max_frames  frames of each clip, at most
    max_bytes   memory for all clips, about
    max_clips   clips, at most

    Of a larger set, evenly spread clips are read.
    """

    max_frames: int | None = None
    max_bytes: int | None = None
    max_clips: int | None = None


def read_packs(*folders: str | Path, limits: Limits = Limits()) -> Pack:
    """Decode data sets into memory, as one Pack.

    folders     packs, or other sets that `find_footage` knows, of which the training split is read

    Raises RefilmError if a folder has no clips, or if a clip cannot be read.
    """
    return _read_entries([entry for folder in folders for entry in entries(folder)], folders, limits)


def read_split(folder: str | Path, split: str, limits: Limits = Limits()) -> Pack:
    """Decode the training or the test split of a data set into memory. A test split that is set aside may be empty.

    folder   a pack, or a set in any layout of `layouts.py`
    split    "train" or "test", see `split_entries`

    Raises RefilmError as `read_packs`.
    """
    found = split_entries(folder, split)
    return _read_entries(found, (folder,), limits) if found else Pack([], [])


Entry = tuple[Footage, Clip | None]  # where a clip is, and what an index says about it


def entries(folder: str | Path, split: str = "train") -> list[Entry]:
    """The clips of a data set, without decoding. Of a set without splits, all; see `find_footage`."""
    folder = Path(folder)
    if (folder / "index.json").exists():
        return [(Footage(clip.source, (folder / clip.file,)), clip) for clip in read_index(folder)]
    if parts := parts_of(folder, split):
        return [entry for part in parts for entry in entries(part, split)]
    return [(footage, None) for footage in find_footage(folder, split)]


def split_entries(folder: str | Path, split: str) -> list[Entry]:
    """As `entries`, but of a set without splits a part is set aside for testing.

    That is each eighth film; of a single film, the last eighth of its clips, at least one, unless it is the only one.
    """
    folder, found = Path(folder), entries(folder, split)
    if parts_of(folder, split) or (has_splits(folder) and not (folder / "index.json").exists()):
        return found
    films = sorted({footage.source for footage, _ in found})
    if len(films) > 1:
        aside = set(films[len(films) // 2 % _ASIDE :: _ASIDE])
        return [entry for entry in found if (entry[0].source in aside) == (split == "test")]
    count = max(1, len(found) // _ASIDE) if len(found) > 1 else 0
    return found[len(found) - count :] if split == "test" else found[: len(found) - count]


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` of the indices 0 ... count - 1, evenly spread; all of them if `wanted` is 0."""
    if not wanted:
        return list(range(count))
    wanted = min(wanted, count)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def _read_entries(found: list[Entry], folders: Sequence[str | Path], limits: Limits) -> Pack:
    if not found:
        raise RefilmError(f"{', '.join(map(str, folders))}: no clips listed")

    def read(entry: Entry) -> tuple[Clip, Tensor]:
        footage, clip = entry
        if clip is None:
            _check_length(footage, folders[0])
        pictures = read_footage(footage, limits.max_frames)
        return clip or _described(footage, pictures), pictures

    found = [found[place] for place in spread(len(found), limits.max_clips or 0)]
    if limits.max_bytes is not None:
        sample = found if all(clip for _, clip in found) else [found[place] for place in spread(len(found), 4)]
        sizes = [
            _bytes(clip, limits.max_frames) if clip else read((footage, None))[1].numel() for footage, clip in sample
        ]
        found = [found[place] for place in spread(len(found), max(1, limits.max_bytes * len(sizes) // sum(sizes)))]
    with ThreadPoolExecutor() as pool:
        clips, pictures = zip(*pool.map(read, found), strict=True)
    return Pack(list(clips), list(pictures))


def _bytes(clip: Clip, max_frames: int | None) -> int:
    """Memory that the frames of a clip will take."""
    return min(clip.frames, max_frames or clip.frames) * clip.width * clip.height * 3


def _check_length(footage: Footage, folder: str | Path) -> None:
    """Raises RefilmError for a film, which has scene cuts and still parts, and does not fit into memory."""
    if len(footage.files) > 1:
        return
    info = Decoder(footage.files[0], None, on_packet=lambda: None).info
    count = info.frames or (0 if info.duration is None else int(info.duration * info.frame_rate))
    if count > LONGEST_CLIP:
        raise RefilmError(
            f"{footage.files[0]}: {count} frames, and clips of at most {LONGEST_CLIP} are wanted, each of one scene. "
            f"Cut films into clips first: refilm data pack {folder} {Path(folder).name}.pack"
        )


def _described(footage: Footage, pictures: Tensor) -> Clip:
    """The index entry for a clip of a set that is no pack. pictures: uint8 [T, 3, H, W]"""
    count, _, height, width = pictures.shape
    size = sum(path.stat().st_size for path in footage.files)
    return Clip(footage.files[0].name, footage.source, count, width, height, mean_motion(pictures), size)
