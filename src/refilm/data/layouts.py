"""Finding the clips of a data set: of common sets in the layout of their archives, and of any folder of videos.

| set | is recognised by | clips |
|---|---|---|
| a pack | `index.json`, by `pack.py` | as listed; has no splits |
| parts | folders `train...` and `val...` or `test...`, by `pack.py` | those of each part |
| Vimeo-90K triplet, septuplet | `tri_trainlist.txt`, `sep_trainlist.txt` | `sequences/<listed>/im*.png` |
| REDS | `train_sharp` or `train/train_sharp` (or `val...`) | each folder there |
| DAVIS | `JPEGImages/480p` | those that `ImageSets/2017/{train,val}.txt` lists |
| anything else | | each video file, and each folder with at least two pictures; has no splits |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

from refilm.errors import RefilmError
from refilm.video import Frame, frames

VIDEOS = {".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv", ".y4m"}
PICTURES = {".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Footage:
    """One clip or film on disk.

    source   its name within the data set
    files    a video file, or pictures in their order
    rate     pictures per second, if it consists of pictures
    """

    source: str
    files: tuple[Path, ...]
    rate: Fraction = Fraction(25)

    def frames(self) -> Iterator[Frame]:
        """Its frames, decoded on demand; pictures at `rate`. Raises VideoError for a file that cannot be read."""
        if len(self.files) == 1:
            yield from frames(self.files[0])
            return
        for number, frame in enumerate(chain.from_iterable(map(frames, self.files))):
            yield replace(frame, time=number / self.rate, duration=1 / self.rate)


def find_footage(folder: str | Path, split: str = "train") -> list[Footage]:
    """The clips of a data set in one of the layouts above, except for packs and parts, which `pack.py` reads.

    split   "train" or "test", for sets that have both; "test" is what REDS and DAVIS call val. Of a set that has only
            one of them, or no splits, it is all clips

    Raises ValueError for another split; RefilmError if there are no clips, or if a listed clip is missing.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise ValueError(f"split must be train or test, got {split!r}")
    if splits := _splits(folder):
        found = splits.get(split, next(iter(splits.values())))()
    elif folder.is_dir():
        found = sorted(chain(_videos_below(folder), _pictures_below(folder)), key=lambda footage: footage.source)
    else:
        raise RefilmError(f"{folder}: no such file or folder")
    if not found:
        raise RefilmError(f"{folder}: no videos, no folders of pictures, and no data set that is known")
    return found


def has_splits(folder: Path) -> bool:
    """Whether a data set that `find_footage` knows comes with clips for training and others for testing."""
    return len(_splits(folder)) == 2


def parts_of(folder: Path, split: str) -> list[Path]:
    """The folders of one split, where a folder has `train...` and `val...` or `test...`; none if it has not."""
    below = sorted(path for path in folder.glob("*") if path.is_dir()) if not _splits(folder) else []
    parts = {kind: [path for path in below if path.name.startswith(kind)] for kind in ("train", "val", "test")}
    held_out = parts["val"] or parts["test"]
    if not parts["train"] or not held_out:
        return []
    return parts["train"] if split == "train" else held_out


def _splits(folder: Path) -> dict[str, Callable[[], list[Footage]]]:
    """By split, what finds its clips; empty for a folder that is none of the sets with splits."""
    found: dict[str, Callable[[], list[Footage]]] = {}
    for split, theirs in (("train", "train"), ("test", "val")):
        lists = [path for kind in ("sep", "tri") if (path := folder / f"{kind}_{split}list.txt").exists()]
        sharp = [path for path in (folder / f"{theirs}_sharp", folder / theirs / f"{theirs}_sharp") if path.is_dir()]
        davis = folder / "ImageSets" / "2017" / f"{theirs}.txt"
        if lists:
            found[split] = partial(_listed, lists[0], folder / "sequences")
        elif sharp:
            found[split] = partial(_pictures_below, sharp[0])
        elif (folder / "JPEGImages" / "480p").is_dir():
            found[split] = partial(_listed, davis, folder / "JPEGImages" / "480p")
    return found


def _listed(lines: Path, below: Path) -> list[Footage]:
    try:
        names = lines.read_text().split()
    except OSError as error:
        raise RefilmError(f"{lines}: cannot be read ({error.strerror}); it lists the clips of the split") from None
    found = []
    for name in names:
        pictures = _pictures_in(below / name)
        if not pictures:
            raise RefilmError(f"{below / name}: no pictures here, but {lines.name} lists it; is all of it unpacked?")
        found.append(Footage(name.replace("/", "__"), pictures))
    return found


def _videos_below(folder: Path) -> Iterable[Footage]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in VIDEOS and path.is_file():
            yield Footage(_source(path.relative_to(folder)), (path,))


def _pictures_below(folder: Path) -> list[Footage]:
    folders = sorted(path for path in (folder, *folder.rglob("*")) if path.is_dir())
    found = ((path, _pictures_in(path)) for path in folders)
    return [Footage(_source(path.relative_to(folder)), pictures) for path, pictures in found if len(pictures) > 1]


def _pictures_in(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES))


def _source(path: Path) -> str:
    return "__".join(path.parts) or "frames"
