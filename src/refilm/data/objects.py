"""Films and photographs whose objects are known, and the things that are cut out of them.

Sequences with masks are a folder with an `index.json`: by NAME the class, the split ("train" or "val") and a box for
each frame; the frames are NAME.mp4, and the masks of one object NAME-mask.mkv. What else moves in them is not known.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np

from refilm.data.annotations import read_coco
from refilm.data.compositing import Array, Film, Thing, cut_out
from refilm.data.pack import entries, read_clip, read_footage
from refilm.errors import RefilmError

# Short side to which backgrounds are reduced, in pixels.
_BACKGROUND_SIDE = 288
# Photographs have been sharpened, and are larger than the films.
_PHOTOGRAPH_SIDE = 320
_LEAST_COVER = 0.0015  # share of a frame that a thing fills at least


def read_sequences(folder: str | Path, split: str) -> tuple[list[Thing], list[Film]]:
    """The things that are cut out of sequences with masks, and the sequences themselves.

    Raises RefilmError if there is no index, or no sequence of that split.
    """
    folder = Path(folder)
    try:
        index = json.loads((folder / "index.json").read_text())
    except FileNotFoundError:
        raise RefilmError(f"{folder}: no sequences with masks here, index.json is missing") from None
    things, films = [], []
    for name, entry in index.items():
        if entry["split"] != split:
            continue
        pictures, masks = (_pictures(folder / f"{name}{ending}") for ending in (".mp4", "-mask.mkv"))
        covers = masks[..., 1]
        boxes = np.zeros((len(pictures), 1, 4), np.float32)
        cutouts = []
        for number, (picture, cover) in enumerate(zip(pictures, covers, strict=False)):
            x, y, wide, high = cv2.boundingRect((cover > 127).view(np.uint8))
            if wide * high:
                boxes[number, 0] = x, y, x + wide, y + high
            if (cover > 127).mean() >= _LEAST_COVER:
                there = np.s_[y : y + high, x : x + wide]
                cutouts.append(cut_out(picture[there], cover[there]))
        if cutouts:
            things.append(Thing(entry["class"], cutouts))
        films.append(Film(pictures, boxes, (entry["class"],), complete=False))
    if not things:
        raise RefilmError(f"{folder}: no sequences of the split {split!r} are listed")
    return things, films


def read_annotated_photographs(folder: str | Path, annotations: str | Path) -> tuple[list[Thing], list[Film]]:
    """Photographs whose objects are listed in COCO's format, and those that have an outline, cut out.

    Files without objects are left out; they are backgrounds, see `empty_files`.

    Raises RefilmError as `read_coco`, and if a picture cannot be read.
    """
    things, films = [], []
    for picture in read_coco(annotations):
        if not picture.objects:
            continue
        frame = _pictures(Path(folder) / picture.file)[0]
        for found in picture.objects:
            if found.outline and not found.crowd:
                cover = np.zeros(frame.shape[:2], np.uint8)
                cv2.fillPoly(cover, [points.round().astype(np.int32) for points in found.outline], 255)
                x, y, wide, high = cv2.boundingRect(cover)
                if wide * high:
                    there = np.s_[y : y + high, x : x + wide]
                    things.append(Thing(found.label, [cut_out(frame[there], cover[there])]))
        boxes = np.array([[found.box for found in picture.objects]], np.float32).reshape(1, -1, 4)
        labels = tuple(found.label for found in picture.objects)
        crowds = tuple(number for number, found in enumerate(picture.objects) if found.crowd)
        films.append(Film(frame[None], boxes, labels, True, crowds))
    return things, films


def empty_files(annotations: str | Path) -> set[str]:
    """The names of the files without objects. Raises RefilmError as `read_coco`."""
    return {picture.file for picture in read_coco(annotations) if not picture.objects}


def read_backgrounds(
    films: Sequence[str | Path], photographs: Sequence[str | Path] = (), names: Collection[str] = ()
) -> list[Array]:
    """Films and photographs without objects, reduced. -> [T, H, W, 3], uint8 each

    films         packs, or other sets of films
    photographs   folders of pictures
    names         the files that are read; (): all

    Raises RefilmError if there are none.
    """
    found = []
    for folder in films:
        for footage, _ in entries(folder):
            if not names or footage.files[0].name in names:
                found.append(_reduced(_last_channel(read_footage(footage).numpy()), _BACKGROUND_SIDE))
    for folder in photographs:
        for path in sorted(Path(folder).iterdir()):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png") and (not names or path.name in names):
                found.append(_reduced(_pictures(path), _PHOTOGRAPH_SIDE))
    if not found:
        raise RefilmError(f"{', '.join(map(str, [*films, *photographs]))}: no backgrounds here")
    return found


def _pictures(path: Path) -> Array:
    return _last_channel(read_clip(path).numpy())


def _last_channel(frames: Array) -> Array:
    """[T, 3, H, W] -> [T, H, W, 3]"""
    return np.ascontiguousarray(frames.transpose(0, 2, 3, 1))


def _reduced(frames: Array, side: int) -> Array:
    ratio = side / min(frames.shape[1:3])
    if ratio >= 1:
        return frames
    size = round(frames.shape[2] * ratio), round(frames.shape[1] * ratio)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
