"""Reading a pack: a folder of short clips, one scene each, with an `index.json` that lists them.

Each entry of the index: file, source, frames, width, height, motion (mean absolute difference of neighbouring frames
at 96x54, of 255), bytes. The clips are video files that FFmpeg decodes; 8-bit YUV is read as BT.709, limited range.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from torch import Tensor

from refilm.errors import RefilmError


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
    """All frames of a clip as RGB bytes. -> frames_u8 [T, 3, H, W].

    Raises RefilmError when the file cannot be opened or holds no frame.
    """
    frames: list[np.ndarray] = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                rgb = frame.reformat(
                    format="rgb24",
                    src_colorspace=Colorspace.ITU709,
                    src_color_range=ColorRange.MPEG,
                    dst_color_range=ColorRange.JPEG,
                    # swscale's default takes the nearest chroma sample: blocks of colour at edges
                    interpolation=Interpolation.BICUBIC,
                )
                frames.append(rgb.to_ndarray())
                if max_frames is not None and len(frames) == max_frames:
                    break
    except (OSError, av.FFmpegError, IndexError) as error:
        raise RefilmError(f"{path}: cannot be read as video ({error})") from None
    if not frames:
        raise RefilmError(f"{path}: holds no frame")
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


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


def read_packs(*folders: str | Path, workers: int = 2) -> Pack:
    """Decode whole packs into memory, one after the other. Raises RefilmError as `read_index` and `read_clip` do."""
    found = [(Path(folder) / clip.file, clip) for folder in folders for clip in read_index(folder)]
    if not found:
        raise RefilmError(f"{', '.join(map(str, folders))}: no clips listed")
    with ThreadPoolExecutor(workers) as pool:
        frames = list(pool.map(read_clip, [path for path, _ in found]))
    return Pack([clip for _, clip in found], frames)
