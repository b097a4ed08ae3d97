"""Making a pack (see `pack.py`): films are cut into short clips that are useful for training, and reduced in size."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.data.layouts import find_footage
from refilm.data.pack import Clip, mean_motion, motion, read_index, rgb_u8, thumbnail
from refilm.errors import RefilmError
from refilm.video import Frame
from refilm.video.clip_writer import write_clip

HDR = ("smpte2084", "arib-std-b67")
BORDER = 0.04  # share of width and height that is cut off on each side: logos, black columns of analogue recordings

# Limits within which frames are kept.
DARKEST = 24.0  # lowest mean of the gray thumbnail, in 8-bit levels
STILLEST = 0.2  # lowest motion since the frame before, in 8-bit levels: from still frames nothing can be learned
BLOCKIEST = 1.3  # highest `blockiness`
SMALLEST = 64  # shortest side of a clip, in pixels


@dataclass(frozen=True)
class Packing:
    """How films are cut into clips.

    longest      most frames of a clip
    shortest     fewest frames of a clip
    gap          frames left out after each clip of a scene, so that long takes do not dominate the pack
    short_side   longest that the shorter side of a clip may be, in pixels
    shrink       smallest factor by which frames are reduced, which removes the compression artifacts of the film
    crf          quality of the clips, as x265's crf

    Films whose clips would have a side below 64 pixels are left out: they are of no use for training, and x265 writes
    beyond its memory on them. Raises ValueError for values out of range.
    """

    longest: int = 48
    shortest: int = 12
    gap: int = 48
    short_side: int = 360
    shrink: float = 2.0
    crf: float = 18

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise ValueError(f"shortest must be from 1 to longest, got {self.shortest} of {self.longest} frames")
        if self.shrink < 1 or self.short_side < 8 or self.gap < 0:
            raise ValueError(
                "shrink must be at least 1, short_side at least 8 and gap at least 0, got "
                f"{self.shrink}, {self.short_side}, {self.gap}"
            )


def pack(
    folder: str | Path,
    out: str | Path,
    packing: Packing = Packing(),
    mark_cuts: Callable[[Iterable[Frame]], Iterator[Frame]] = iter,
    note: Callable[[str], None] = lambda line: None,
) -> list[Clip]:
    """Cut the films in a folder into the clips of a pack, and return its index.

    folder     a folder that `find_footage` knows
    out        the pack's folder
    mark_cuts  sets `starts_scene` on frames; by default each film is one scene
    note       called with one line for each film

    After an interruption, the same call continues with the first film that is not finished; the index always lists the
    clips of finished films only. One clip at a time is kept in memory. Raises RefilmError if no clip can be made, or if
    `out` was begun with other settings or by something else.
    """
    out = Path(out)
    footage = find_footage(folder)
    done = _Progress.at(out, packing)
    for film in footage:
        if film.source in done.films:
            continue
        made: list[Clip] = []
        try:
            for pictures in cut(mark_cuts(film.frames()), packing):
                made.append(_write(out, len(done.clips) + len(made), film.source, pictures, packing))
        except RefilmError as error:
            note(f"{film.source}: left out after {len(made)} clips, {error}")
        else:
            note(f"{film.source}: {len(made)} clips")
        done.add(film.source, made)
    if not done.clips:
        raise RefilmError(
            f"{folder}: {len(footage)} films, and not one clip of {packing.shortest} frames that is bright, moves and "
            "is not badly compressed; allow shorter ones"
        )
    return done.clips


def cut(frames: Iterable[Frame], packing: Packing) -> Iterator[list[Tensor]]:
    """The clips of a film: lists of frames, uint8 RGB [3, h, w], reduced by `shrunk`, each within one scene.

    A clip ends at a scene cut, at a frame that is dark, still or blocky, and at `longest` frames. Raises RefilmError
    for HDR, and for frames that would become too small.
    """
    kept: list[Tensor] = []
    before: np.ndarray | None = None
    skip = 0
    for frame in frames:
        if frame.colour.transfer in HDR:
            raise RefilmError("high dynamic range, which would be packed with wrong colours")
        picture = rgb_u8(frame)
        small = thumbnail(picture)
        moves = before is None or frame.starts_scene or motion(before, small) >= STILLEST
        good = moves and small.mean() >= DARKEST and blockiness(frame.planes[0]) <= BLOCKIEST
        before = small
        if frame.starts_scene or not good or len(kept) == packing.longest:
            if len(kept) >= packing.shortest:
                yield kept
                skip = packing.gap
            kept = []
        if frame.starts_scene:
            skip = 0
        if skip:
            skip -= 1
        elif good:
            kept.append(shrunk(picture, packing))
    if len(kept) >= packing.shortest:
        yield kept


def shrunk(picture_u8: Tensor, packing: Packing) -> Tensor:
    """The frame without its border, reduced. uint8 [3, H, W] -> [3, h, w], multiples of 8

    Raises RefilmError if a side would be shorter than SMALLEST.
    """
    height, width = picture_u8.shape[-2:]
    top, left = round(height * BORDER), round(width * BORDER)
    inner = picture_u8[:, top : height - top, left : width - left].permute(1, 2, 0).numpy()
    factor = max(packing.shrink, min(inner.shape[:2]) / packing.short_side)
    size = [round(side / factor) // 8 * 8 for side in inner.shape[1::-1]]
    if min(size) < SMALLEST:
        raise RefilmError(
            f"{width}x{height} would become {size[0]}x{size[1]}, and below {SMALLEST} a side is of no use; shrink less"
        )
    small = cv2.resize(inner, size, interpolation=cv2.INTER_AREA) if factor > 1 else inner[: size[1], : size[0]]
    return torch.from_numpy(np.ascontiguousarray(small)).permute(2, 0, 1)


def blockiness(luma: np.ndarray) -> float:
    """A measure of block artifacts: how much larger steps are across the borders of 8x8 blocks than elsewhere.

    luma [H, W], in codes -> about 1 without blocks, larger with blocks
    """
    ratios = []
    for plane in (luma, luma.T):
        steps = np.abs(np.diff(plane[:, : plane.shape[1] // 8 * 8].astype(np.float32), axis=1)).mean(0)
        at_border = np.arange(len(steps)) % 8 == 7
        ratios.append((steps[at_border].mean() + 0.1) / (steps[~at_border].mean() + 0.1))
    return float(np.mean(ratios))


@dataclass
class _Progress:
    """The finished part of a pack.

    films   names of the finished films; with the settings, they are kept in `packed.json`
    clips   their clips; these are kept in `index.json`
    """

    out: Path
    packing: Packing
    films: list[str]
    clips: list[Clip]

    @classmethod
    def at(cls, out: Path, packing: Packing) -> _Progress:
        record = out / "packed.json"
        if not record.exists():
            if out.exists() and any(out.iterdir()):
                raise RefilmError(f"{out}: is there already, and was not begun by this command; name another folder")
            out.mkdir(parents=True, exist_ok=True)
            _replace(record, {"settings": asdict(packing), "films": []})
            return cls(out, packing, [], [])
        held = json.loads(record.read_text())
        if held["settings"] != asdict(packing):
            raise RefilmError(f"{out}: was begun with {held['settings']}; use the same settings, or another folder")
        clips = read_index(out) if (out / "index.json").exists() else []
        # after a kill between the writing of the two files, the index has clips of a film that is not in the record
        clips = [clip for clip in clips if clip.source in held["films"]]
        return cls(out, packing, held["films"], clips)

    def add(self, film: str, clips: list[Clip]) -> None:
        self.films.append(film)
        self.clips += clips
        if clips:
            _replace(self.out / "index.json", [asdict(clip) for clip in self.clips])
        _replace(self.out / "packed.json", {"settings": asdict(self.packing), "films": self.films})


def _replace(path: Path, content: object) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=0) + "\n")
    os.replace(temporary, path)


def _write(out: Path, number: int, source: str, pictures: list[Tensor], packing: Packing) -> Clip:
    _, height, width = pictures[0].shape
    path, temporary = out / f"{number:04d}.mp4", out / f"{number:04d}.part"
    write_clip(temporary, pictures, packing.crf)
    os.replace(temporary, path)
    moved = round(mean_motion(torch.stack(pictures)), 2)
    return Clip(path.name, source, len(pictures), width, height, moved, path.stat().st_size)
