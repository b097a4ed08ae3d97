"""Sequences with masks, of rectangles that move before noise."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np

SIZE = 72, 128


def write_sequences(folder: Path, count: int = 4) -> None:
    """Two sequences to learn from, and one of each class to measure on, in the layout of `refilm.data.objects`."""
    index = {}
    kinds = {"person": ((16, 24), (220, 40, 40)), "vehicle": ((40, 18), (40, 40, 220))}
    for split in ("train", "val"):
        for number, (label, ((wide, high), colour)) in enumerate(kinds.items()):
            name = f"{label}-{split}"
            noise = np.random.default_rng(number).integers(60, 120, (9, 16, 3), np.uint8)
            behind = cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
            pictures, masks, boxes = [], [], []
            for place in range(count):
                left, top = 20 + 4 * place, 20
                picture, mask = behind.copy(), np.zeros((*SIZE, 3), np.uint8)
                picture[top : top + high, left : left + wide] = colour
                mask[top : top + high, left : left + wide] = 255
                pictures.append(picture)
                masks.append(mask)
                boxes.append([left, top, left + wide, top + high])
            _write(folder / f"{name}.mp4", pictures)
            _write(folder / f"{name}-mask.mkv", masks)
            index[name] = {"class": label, "split": split, "frames": count, "boxes": boxes}
    (folder / "index.json").write_text(json.dumps(index))


def _write(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1" if path.suffix == ".mkv" else "libx264", rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv444p"
        if path.suffix != ".mkv":
            stream.options = {"crf": "10"}
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv444p")))
        file.mux(stream.encode())
