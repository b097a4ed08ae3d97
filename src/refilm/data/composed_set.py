"""Writing a set of composed clips, whose objects are all known, for `find_annotated`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from refilm.data.compositing import Array, Compositor
from refilm.data.draws import below, generator
from refilm.data.objects import empty_files, read_backgrounds, read_sequences
from refilm.errors import RefilmError
from refilm.video.clip_writer import write_clip

_ASIDE = 8  # of so many backgrounds, one is set aside for validation
_CRF = (24, 36)  # quality of the clips, from the best to the worst


def unseen_compositor(
    cutouts: str | Path,
    films: Sequence[str | Path],
    photographs: Sequence[str | Path] = (),
    annotations: str | Path = "",
) -> Compositor:
    """Composes what a training with the same folders sets aside: things of the split "val", and other backgrounds.

    Raises RefilmError as what reads them, and if there are too few backgrounds.
    """
    _, aside = divided_backgrounds(films, photographs, annotations)
    return Compositor(read_sequences(cutouts, "val")[0], aside)


def divided_backgrounds(
    films: Sequence[str | Path], photographs: Sequence[str | Path], annotations: str | Path
) -> tuple[list[Array], list[Array]]:
    """Backgrounds to learn from, and each eighth, to measure on; see `read_backgrounds`.

    annotations   in COCO's format: the photographs and films that it lists without objects are backgrounds. "": all
                  films are, and no photograph is

    Raises RefilmError as `read_backgrounds`, and if there are too few.
    """
    names = empty_files(annotations) if annotations else ()
    found = read_backgrounds(films, photographs if annotations else (), names)
    aside = range(_ASIDE // 2, len(found), _ASIDE)
    if not aside:
        raise RefilmError(f"{len(found)} backgrounds are too few to set some aside; give more films")
    kept = [background for number, background in enumerate(found) if number not in aside]
    return kept, [found[number] for number in aside]


def write_composed(
    folder: str | Path, compositor: Compositor, count: int, frames: int, size: tuple[int, int], seed: int = 0
) -> None:
    """Write clips of 25 frames a second, compressed more or less strongly, and `index.json`, see `data.annotated`.

    size   height and width, even numbers
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for number in range(count):
        random, name = generator(seed, number), f"{number:04}"
        scene = compositor.draw(random, [place - frames // 2 for place in range(frames)], *size)
        crf = _CRF[0] + below(_CRF[1] - _CRF[0] + 1, random)
        write_clip(folder / f"{name}.mp4", [torch.from_numpy(frame).permute(2, 0, 1) for frame in scene.frames], crf)
        objects = [
            {
                "class": label,
                "boxes": [box if box[2] > box[0] else None for box in scene.boxes[:, column].tolist()],
                "visible": [round(share, 3) for share in scene.visible[:, column].tolist()],
            }
            for column, label in enumerate(scene.labels)
        ]
        index[name] = {"split": "val", "frames": frames, "width": size[1], "height": size[0], "objects": objects}
    (folder / "index.json").write_text(json.dumps(index))
