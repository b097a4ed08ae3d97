"""Finding the clips of a data set: of common sets in the layout of their archives, and of any folder of videos.

| set | is recognised by | clips |
|---|---|---|
| a pack | `index.json`, by `pack.read_packs` | as listed; has no splits |
| Vimeo-90K triplet, septuplet | `tri_trainlist.txt`, `sep_trainlist.txt` | `sequences/<listed>/im*.png` |
| REDS | `train_sharp` or `train/train_sharp` (or `val...`) | each folder there |
| DAVIS | `JPEGImages/480p` | those that `ImageSets/2017/{train,val}.txt` lists |
| anything else | | each video file, and each folder with at least two pictures; has no splits |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
    """

    source: str
    files: tuple[Path, ...]

    def frames(self) -> Iterator[Frame]:
        """Its frames, decoded on demand. Raises VideoError for a file that cannot be read."""
        return chain.from_iterable(frames(path) for path in self.files)


def find_footage(folder: str | Path, split: str = "train") -> list[Footage]:
    """The clips of a data set in one of the layouts above, except for packs, which have an index.

    split   "train" or "test", for sets that have splits; "test" is what REDS and DAVIS call val

    Raises ValueError for another split; RefilmError if there are no clips, or if a listed clip is missing.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise ValueError(f"split must be train or test, got {split!r}")
    theirs = "train" if split == "train" else "val"
    sharp = [path for path in (folder / f"{theirs}_sharp", folder / theirs / f"{theirs}_sharp") if path.is_dir()]
    if lists := [path for path in (folder / f"{kind}_{split}list.txt" for kind in ("sep", "tri")) if path.exists()]:
        found = _listed(lists[0], folder / "sequences")
    elif sharp:
        found = _pictures_below(sharp[0])
    elif (folder / "JPEGImages" / "480p").is_dir():
        found = _listed(folder / "ImageSets" / "2017" / f"{theirs}.txt", folder / "JPEGImages" / "480p")
    elif folder.is_dir():
        found = sorted(chain(_videos_below(folder), _pictures_below(folder)), key=lambda footage: footage.source)
    else:
        raise RefilmError(f"{folder}: no such file or folder")
    if not found:
        raise RefilmError(f"{folder}: no videos, no folders of pictures, and no data set that is known")
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
