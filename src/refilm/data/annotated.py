"""Finding films whose objects are known: sets of several layouts, recognised by their files.

| set | is recognised by | films |
|---|---|---|
| sequences with masks, and composed clips | `index.json` with an entry for each name | NAME.mp4 |
| MOTChallenge | `*/seqinfo.ini` and `*/gt/gt.txt` | folders of pictures |
| ImageNet VID | `Annotations/VID/*` and `Data/VID/*` | folders of pictures, with an XML file for each |
| COCO, and sets in its format | one JSON file with images, annotations and categories | each picture is a film |

Classes are person, vehicle and animal; `KINDS` says what counts as which. Objects of other classes are left out. An
entry of `index.json` has the class and a box (left, top, right, bottom) or null for each frame, of one object: others
may be there that are not known. Or it has `objects`, which are then all: a list of the same, with `visible`, the share
of the object that is seen in each frame.
"""

from __future__ import annotations

import configparser
import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from refilm.data.annotations import read_coco
from refilm.data.layouts import PICTURES, Footage
from refilm.errors import RefilmError

Array = np.ndarray
CLASSES = ("person", "vehicle", "animal")
# WordNet numbers of ImageNet VID's vehicles: airplane, bicycle, bus, car, motorcycle, train, watercraft. Its other 23
# classes are animals.
_VID_VEHICLES = ("n02691156", "n02834778", "n02924116", "n02958343", "n03790512", "n04468005", "n04530566")
_VID_ANIMALS = (
    "n02419796", "n02131653", "n02402425", "n02084071", "n02121808", "n02503517", "n02118333", "n02510455", "n02342885",
    "n02374451", "n02129165", "n01674464", "n02484322", "n02324045", "n02509815", "n02411705", "n01726692", "n02355227",
    "n02129604", "n01662784", "n02062744", "n02391049", "n01503061",
)  # fmt: skip
_COCO = {
    "person": ("person", "pedestrian", "people"),
    "vehicle": ("vehicle", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "animal": ("animal", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
}
KINDS: dict[str, str] = {
    **{name: kind for kind, names in _COCO.items() for name in names},
    **dict.fromkeys(_VID_VEHICLES, "vehicle"),
    **dict.fromkeys(_VID_ANIMALS, "animal"),
}
# MOTChallenge's classes by their numbers: pedestrian, person on vehicle, car, bicycle, motorbike, other vehicle, static
# person. Distractors, occluders, reflections and crowds need not be found.
_MOT = {1: "person", 2: "person", 3: "vehicle", 4: "vehicle", 5: "vehicle", 6: "vehicle", 7: "person"}
_MOT_HIDDEN = "person"  # as what those are taken, which they may be found as


@dataclass(frozen=True)
class AnnotatedFilm:
    """A film with its objects.

    labels    of each object
    boxes     [T, K, 4], left, top, right and bottom in pixels; zeros where it is not in the frame
    visible   [T, K], share of it that is seen; 0 where it need not be found
    complete  whether these are all objects
    """

    footage: Footage
    labels: tuple[str, ...]
    boxes: Array
    visible: Array
    complete: bool = True


def find_annotated(folder: str | Path, split: str = "val") -> list[AnnotatedFilm]:
    """The films of a set, without decoding them.

    split   of sets that have splits

    Raises RefilmError if there is no set that is known, or if its annotations cannot be read.
    """
    folder = Path(folder)
    found: Iterable[AnnotatedFilm]
    lists = [path for path in folder.glob("*.json") if path.name != "index.json"]
    try:
        if (folder / "index.json").is_file():
            found = _of_index(folder, split)
        elif sequences := sorted(folder.glob("*/seqinfo.ini")):
            found = map(_of_mot, sequences)
        elif (folder / "Annotations" / "VID").is_dir():
            found = _of_vid(folder, split)
        elif len(lists) == 1:
            found = _of_coco(folder, lists[0])
        else:
            raise RefilmError(
                f"{folder}: no films with annotations here: wanted index.json, MOTChallenge's folders with "
                "seqinfo.ini, ImageNet VID's Annotations/VID, or one JSON file in COCO's format"
            )
        films = list(found)
    except (KeyError, ValueError, TypeError, AttributeError, configparser.Error, ElementTree.ParseError) as error:
        raise RefilmError(f"{folder}: its annotations cannot be read, {type(error).__name__}: {error}") from None
    if not films:
        raise RefilmError(f"{folder}: no films of the split {split!r}")
    return films


def _of_index(folder: Path, split: str) -> Iterator[AnnotatedFilm]:
    for name, entry in json.loads((folder / "index.json").read_text()).items():
        if entry.get("split", split) != split:
            continue
        objects = entry.get("objects", [{"class": entry.get("class"), "boxes": entry.get("boxes")}])
        boxes = [[box or (0, 0, 0, 0) for box in known["boxes"]] for known in objects]
        visible = [known.get("visible", [1.0] * len(known["boxes"])) for known in objects]
        length = entry.get("frames", len(boxes[0]) if boxes else 0)
        yield AnnotatedFilm(
            Footage(name, (folder / f"{name}.mp4",)),
            tuple(known["class"] for known in objects),
            np.array(boxes, np.float32).reshape(len(objects), length, 4).transpose(1, 0, 2),
            np.array(visible, np.float32).reshape(len(objects), length).T,
            "objects" in entry,
        )


def _of_mot(info: Path) -> AnnotatedFilm:
    told = configparser.ConfigParser()
    told.read_string(info.read_text())
    sequence = told["Sequence"]
    length, pictures = int(sequence["seqLength"]), info.parent / sequence["imDir"]
    rows: list[_Row] = []
    with (info.parent / "gt" / "gt.txt").open() as file:
        for cells in csv.reader(file):
            frame, number, left, top, wide, high, wanted, kind = (float(cell) for cell in cells[:8])
            label = _MOT.get(int(kind))
            share = float(cells[8]) if len(cells) > 8 else 1.0
            rows.append(
                _Row(
                    int(frame) - 1,
                    (int(number), label or _MOT_HIDDEN),
                    (left, top, left + wide, top + high),
                    share if wanted and label else 0.0,
                )
            )
    return _film(info.parent.name, pictures, length, rows)


def _of_vid(folder: Path, split: str) -> Iterator[AnnotatedFilm]:
    files = sorted((folder / "Annotations" / "VID" / split).rglob("*.xml"))
    for place in sorted({path.parent for path in files}):
        rows, frames = [], sorted(place.glob("*.xml"))
        for number, path in enumerate(frames):
            for known in ElementTree.parse(path).getroot().iter("object"):
                kind = KINDS.get(_text(known, "name"))
                if kind is not None:
                    box = known.find("bndbox")
                    left, top, right, bottom = (float(_text(box, name)) for name in ("xmin", "ymin", "xmax", "ymax"))
                    rows.append(_Row(number, (int(_text(known, "trackid")), kind), (left, top, right + 1, bottom + 1)))
        below = place.relative_to(folder / "Annotations" / "VID")
        yield _film("__".join(below.parts[1:]), folder / "Data" / "VID" / below, len(frames), rows)


def _of_coco(folder: Path, path: Path) -> Iterator[AnnotatedFilm]:
    places = {found.name: found for found in folder.rglob("*") if found.suffix.lower() in PICTURES}
    for picture in read_coco(path):
        name = Path(picture.file).name
        if name not in places:
            raise RefilmError(f"{folder}: {picture.file} is listed in {path.name}, and not here")
        known = [each for each in picture.objects if each.label in KINDS]
        boxes = np.array([each.box for each in known], np.float32).reshape(1, -1, 4)
        visible = np.array([[0.0 if each.crowd else 1.0 for each in known]], np.float32)
        labels = tuple(KINDS[each.label] for each in known)
        yield AnnotatedFilm(Footage(name, (places[name],)), labels, boxes, visible.reshape(1, -1))


@dataclass(frozen=True)
class _Row:
    """One object in one frame; `thing`: its number and class."""

    frame: int
    thing: tuple[int, str]
    box: tuple[float, float, float, float]
    visible: float = 1.0


def _film(name: str, pictures: Path, length: int, rows: Sequence[_Row]) -> AnnotatedFilm:
    files = tuple(sorted(path for path in pictures.glob("*") if path.suffix.lower() in PICTURES))
    if len(files) != length:
        raise RefilmError(f"{pictures}: {len(files)} pictures, and annotations of {length}; is all of it unpacked?")
    columns: Mapping[Any, int] = {thing: place for place, thing in enumerate(dict.fromkeys(row.thing for row in rows))}
    boxes = np.zeros((length, len(columns), 4), np.float32)
    visible = np.zeros((length, len(columns)), np.float32)
    for row in rows:
        boxes[row.frame, columns[row.thing]] = row.box
        visible[row.frame, columns[row.thing]] = row.visible
    return AnnotatedFilm(Footage(name, files), tuple(label for _, label in columns), boxes, visible)


def _text(element: ElementTree.Element | None, name: str) -> str:
    found = None if element is None else element.findtext(name)
    if found is None:
        raise ValueError(f"an object has no {name}")
    return found
