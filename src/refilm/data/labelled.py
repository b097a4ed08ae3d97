"""Finding the labelled clips of a set for recognition: of common sets in the layout of their archives, and of any.

| set | is recognised by | clips | folds |
|---|---|---|---|
| a table | `index.csv` with columns file, label | as listed | by its further columns, below |
| UCF101 | `trainlist01.txt`, in the folder or in `ucfTrainTestlist` | `CLASS/v_CLASS_g01_c01.avi` | 1, 2, 3 |
| HMDB51 | `CLASS_test_split1.txt`, in the folder or in `testTrainMulti_7030_splits` | `CLASS/NAME.avi` | 1, 2, 3 |
| Kinetics | `train.csv` and `val.csv` or `validate.csv`, with columns label, youtube_id | `ID_START_END.mp4` | 1 |
| Something-Something V2 | `*train.json` and `*validation.json`, entries with template | `ID.webm` | 1 |
| Something-Something V1 | `*train.csv` and `*validation.csv`, lines ID;LABEL | folders `ID` of pictures | 1 |
| Diving48 | `Diving48*_train.json` and `..._test.json`, `Diving48_vocab.json` | `NAME.mp4` | 1 |
| parts | folders `train...` and `val...` or `test...`, with a folder for each class | | 1 |
| anything else | a folder for each class, with videos or folders of pictures | | 1: each fifth clip of a class |

Files are looked for in the folder and below it. Clips that a list of Kinetics names may be missing, since such sets are
never complete; anywhere else a missing one is an error.

The further columns of `index.csv`, of which the first that is there says the folds:

| column | folds |
|---|---|
| split | "1": clips of "test" (or "val") are held out from those of "train"; others are left out |
| sequence | one for each sequence, which is held out from those of the same `set`, if there is such a column |
| serial | "0" to "4": clips are held out whose serial leaves that remainder when divided by 5 |
| source | "1": each fifth source is held out |

In each set, the fold "all" holds nothing out.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from refilm.data.flips import Flips, flips_of
from refilm.data.layouts import PICTURES, VIDEOS, Footage, parts_of
from refilm.errors import RefilmError

ALL = "all"  # the fold that holds nothing out
_FIFTH = 5
_SOMETHING_RATE = Fraction(12)  # of the pictures of version 1
_HELD_OUT = {"test", "val", "validation"}


@dataclass(frozen=True)
class LabelledClip:
    """One clip on disk and what happens in it.

    label   name of its class
    split   "train", "test", or another word that the set has for it; "" if it has none
    group   what it shares with other clips, so that all of them are held out together, such as its source; ""
            if that is not known
    """

    footage: Footage
    label: str
    split: str = ""
    group: str = ""

    @property
    def source(self) -> str:
        """Its name within the set."""
        return self.footage.source


@dataclass(frozen=True)
class Fold:
    """One division of a set: a model that has seen `train` may be measured on `held_out`."""

    train: tuple[LabelledClip, ...]
    held_out: tuple[LabelledClip, ...]


@dataclass(frozen=True)
class LabelledSet:
    """A data set for recognition.

    name     of its folder
    labels   names of the classes, in the set's own order, or sorted
    clips    all clips, also those that no fold has
    folds    by name; the first is the one to take if none is named
    flips    what flips do to the labels
    notes    what a user should know, such as clips that are listed and missing, one line each
    """

    name: str
    labels: tuple[str, ...]
    clips: tuple[LabelledClip, ...]
    folds: Mapping[str, Fold]
    flips: Flips = field(default_factory=Flips)
    notes: tuple[str, ...] = ()

    def fold(self, name: str = "") -> Fold:
        """A fold by its name, or the first one. Raises RefilmError if there is none of that name."""
        if name == ALL:
            return Fold(self.clips, ())
        name = name or next(iter(self.folds))
        if name not in self.folds:
            raise RefilmError(f"{self.name} has no fold {name!r}; there are: {', '.join((*self.folds, ALL))}")
        return self.folds[name]


def find_labelled(folder: str | Path) -> LabelledSet:
    """A set in one of the layouts above.

    Raises RefilmError if the folder is none of them, if a list is wrong, or if a clip is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RefilmError(f"{folder}: no such folder")
    for read in (_table, _ucf101, _hmdb51, _something, _diving48, _kinetics, _parts, _folders):
        if (found := read(folder)) is not None:
            return found
    raise RefilmError(
        f"{folder}: no labelled clips; wanted is index.csv with the columns file and label, a folder of clips for each "
        "class, or the files of UCF101, HMDB51, Kinetics, Something-Something or Diving48"
    )


def _table(folder: Path) -> LabelledSet | None:
    path = folder / "index.csv"
    if not path.exists():
        return None
    rows = _rows(path, ("file", "label"))
    clips, sets = [], []
    by = next((column for column in ("sequence", "serial", "source") if column in rows[0]), "")
    for row in rows:
        group = row.get(by, "")
        clips.append(
            LabelledClip(_footage(folder / row["file"], path, folder), row["label"], row.get("split", ""), group)
        )
        sets.append(row.get("set", ""))
    if "split" in rows[0]:
        folds = {"1": _split(clips)}
    elif by == "sequence":
        folds = _leave_one_out(clips, sets)
    elif by == "serial":
        folds = _remainders(clips, path)
    else:
        folds = {"1": _each_fifth(clips)}
    return _set(folder, clips, folds)


def _ucf101(folder: Path) -> LabelledSet | None:
    lists = next((path for path in (folder, folder / "ucfTrainTestlist") if (path / "trainlist01.txt").exists()), None)
    if lists is None:
        return None
    labels = None
    if (classes := lists / "classInd.txt").exists():
        labels = [line.split()[1] for line in _lines(classes)]
    files = _Files(folder)
    clips: dict[str, LabelledClip] = {}

    def clip(name: str, where: Path) -> LabelledClip:
        label = name.partition("/")[0]
        if labels is not None and label not in labels:
            raise RefilmError(f"{where}: {label!r} is none of the classes in classInd.txt")
        if name not in clips:
            group = re.search(r"_(g\d+)_c\d+", name)
            clips[name] = LabelledClip(
                files.of(Path(name).stem, where), label, group=f"{label} {group[1]}" if group else ""
            )
        return clips[name]

    folds = {}
    for number in (1, 2, 3):
        sides = []
        for side in ("train", "test"):
            path = lists / f"{side}list{number:02}.txt"
            if path.exists():
                sides.append(tuple(clip(line.split()[0], path) for line in _lines(path)))
        if len(sides) == 2:
            folds[str(number)] = Fold(*sides)
    if not folds:
        raise RefilmError(f"{lists}: testlist01.txt is missing beside trainlist01.txt")
    return _set(folder, list(clips.values()), folds, labels)


def _hmdb51(folder: Path) -> LabelledSet | None:
    places = (folder, folder / "testTrainMulti_7030_splits")
    lists = next((path for path in places if any(path.glob("*_test_split1.txt"))), None)
    if lists is None:
        return None
    files = _Files(folder)
    clips: dict[tuple[str, str], LabelledClip] = {}
    folds = {}
    for number in (1, 2, 3):
        sides: dict[str, list[LabelledClip]] = {"1": [], "2": []}
        for path in sorted(lists.glob(f"*_test_split{number}.txt")):
            label = path.name.removesuffix(f"_test_split{number}.txt")
            for line in _lines(path):
                name, side = line.split()
                key = label, name
                if key not in clips:
                    clips[key] = LabelledClip(files.of(Path(name).stem, path), label)
                if side in sides:  # "0": in neither
                    sides[side].append(clips[key])
        if sides["1"]:
            folds[str(number)] = Fold(tuple(sides["1"]), tuple(sides["2"]))
    return _set(folder, list(clips.values()), folds)


def _something(folder: Path) -> LabelledSet | None:
    pairs = [_pair(folder, ending, ("validation", "val")) for ending in (".json", ".csv")]
    json_lists, csv_lists = pairs
    labels = None
    if json_lists and isinstance(first := _json(json_lists[0])[:1], list) and first and "template" in first[0]:

        def named(path: Path) -> Iterator[tuple[str, str]]:
            for entry in _json(path):
                yield str(entry["id"]), re.sub(r"[\[\]]", "", entry["template"])

        lists = json_lists
        if listed := sorted(json_lists[0].parent.glob("*labels.json")):
            labels = sorted(_json(listed[0]), key=lambda label: int(_json(listed[0])[label]))
    elif csv_lists and re.match(r"[^,;]+;.", csv_lists[0].read_text()[:400]):

        def named(path: Path) -> Iterator[tuple[str, str]]:
            for line in _lines(path):
                number, _, label = line.partition(";")
                yield number, label

        lists = csv_lists
        if listed := sorted(csv_lists[0].parent.glob("*labels.csv")):
            labels = _lines(listed[0])
    else:
        return None
    return _two_lists(folder, lists, named, labels, _SOMETHING_RATE)


def _diving48(folder: Path) -> LabelledSet | None:
    lists = _pair(folder, ".json", ("test",), "Diving48*")
    if lists is None:
        return None
    vocabulary = lists[0].parent / "Diving48_vocab.json"
    if not vocabulary.exists():
        raise RefilmError(f"{vocabulary}: missing; it names the 48 classes")
    labels = [" ".join(words) for words in _json(vocabulary)]

    def named(path: Path) -> Iterator[tuple[str, str]]:
        for entry in _json(path):
            yield entry["vid_name"], labels[int(entry["label"])]

    return _two_lists(folder, lists, named, labels)


def _kinetics(folder: Path) -> LabelledSet | None:
    lists = _pair(folder, ".csv", ("val", "validate", "validation"))
    if lists is None:
        return None
    rows = [_rows(path, ("label", "youtube_id")) for path in lists]
    files = _Files(folder)
    sides: list[tuple[LabelledClip, ...]] = []
    missing: list[str] = []
    for split, listed in zip(("train", "test"), rows, strict=True):
        found = []
        for row in listed:
            name = row["youtube_id"]
            if "time_start" in row:
                name = f"{name}_{int(float(row['time_start'])):06}_{int(float(row['time_end'])):06}"
            footage = files.get(name) or files.get(row["youtube_id"])
            if footage is None:
                missing.append(name)
            else:
                found.append(LabelledClip(footage, row["label"], split, row["youtube_id"]))
        sides.append(tuple(found))
    notes = []
    if missing:
        total = sum(map(len, rows))
        notes.append(f"{folder}: {len(missing)} of {total} listed clips are not there, such as {missing[0]}; left out")
    clips = [clip for side in sides for clip in side]
    labels = sorted({row["label"] for listed in rows for row in listed})
    return _set(folder, clips, {"1": Fold(*sides)}, labels, notes)


def _parts(folder: Path) -> LabelledSet | None:
    sides = []
    for split in ("train", "test"):
        parts = parts_of(folder, split)
        sides.append(tuple(clip for part in parts for clip in _in_folders(part, split, folder)))
    if not all(sides):
        return None
    return _set(folder, [clip for side in sides for clip in side], {"1": Fold(*sides)})


def _folders(folder: Path) -> LabelledSet | None:
    clips = list(_in_folders(folder, "", folder))
    if not clips:
        return None
    note = f"{folder}: it has no splits; each fifth clip of a class is held out"
    return _set(folder, clips, {"1": _each_fifth(clips)}, notes=[note])


def _in_folders(folder: Path, split: str, whole: Path) -> Iterator[LabelledClip]:
    """The clips in the sub-folders of a folder, each of which is a class."""
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        for path in sorted(below.iterdir()):
            if path.suffix.lower() in VIDEOS or (path.is_dir() and len(_pictures(path)) > 1):
                yield LabelledClip(_footage(path, below, whole), below.name, split)


def _two_lists(
    folder: Path,
    lists: Sequence[Path],
    named: Callable[[Path], Iterable[tuple[str, str]]],
    labels: Sequence[str] | None,
    rate: Fraction = Fraction(25),
) -> LabelledSet:
    """A set with one list for training and one for testing, each of (name of a file, label).

    rate   of clips that are folders of pictures, per second
    """
    files = _Files(folder)
    sides = []
    for split, path in zip(("train", "test"), lists, strict=True):
        found = []
        for name, label in named(path):
            if labels is not None and label not in labels:
                raise RefilmError(f"{path}: {name} has the label {label!r}, which is none of the set's classes")
            found.append(LabelledClip(replace(files.of(name, path), rate=rate), label, split))
        sides.append(tuple(found))
    return _set(folder, [clip for side in sides for clip in side], {"1": Fold(*sides)}, labels)


def _set(
    folder: Path,
    clips: Sequence[LabelledClip],
    folds: Mapping[str, Fold],
    labels: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> LabelledSet:
    if not clips:
        raise RefilmError(f"{folder}: none of the clips that are listed is there; is all of it unpacked?")
    ordered = tuple(labels) if labels is not None else tuple(sorted({clip.label for clip in clips}))
    return LabelledSet(folder.resolve().name, ordered, tuple(clips), folds, flips_of(ordered, folder), tuple(notes))


def _split(clips: Sequence[LabelledClip]) -> Fold:
    train = tuple(clip for clip in clips if clip.split == "train")
    return Fold(train, tuple(clip for clip in clips if clip.split in _HELD_OUT))


def _leave_one_out(clips: Sequence[LabelledClip], sets: Sequence[str]) -> dict[str, Fold]:
    groups = list(dict.fromkeys(zip(sets, (clip.group for clip in clips), strict=True)))
    groups.sort(key=lambda group: (group[0], group[1].rjust(9)))
    folds = {}
    for part, group in groups:
        own = [clip for clip, other in zip(clips, sets, strict=True) if other == part]
        name = group if len({p for p, g in groups if g == group}) == 1 else f"{part} {group}"
        folds[name] = Fold(
            tuple(clip for clip in own if clip.group != group), tuple(clip for clip in own if clip.group == group)
        )
    return folds


def _remainders(clips: Sequence[LabelledClip], path: Path) -> dict[str, Fold]:
    wrong = next((clip.group for clip in clips if not clip.group.isdecimal()), None)
    if wrong is not None:
        raise RefilmError(f"{path}: serials are whole numbers, got {wrong!r}")
    folds = {}
    for fold in range(_FIFTH):
        sides: tuple[list[LabelledClip], list[LabelledClip]] = [], []
        for clip in clips:
            sides[int(clip.group) % _FIFTH == fold].append(clip)
        folds[str(fold)] = Fold(*map(tuple, sides))
    return folds


def _each_fifth(clips: Sequence[LabelledClip]) -> Fold:
    """Each fifth group is held out; of clips without groups, each fifth of a class."""
    groups = sorted({clip.group for clip in clips} - {""})
    aside = set(groups[_FIFTH // 2 :: _FIFTH])
    counts: dict[str, int] = {}
    train: list[LabelledClip] = []
    held_out: list[LabelledClip] = []
    for clip in clips:
        counts[clip.label] = counts.get(clip.label, 0) + 1
        held = clip.group in aside if clip.group else counts[clip.label] % _FIFTH == 0
        (held_out if held else train).append(clip)
    return Fold(tuple(train), tuple(held_out))


class _Files:
    """The videos and folders of pictures of a set, by their names without ending. One look at the whole tree."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in VIDEOS:
                self._found[path.stem] = path
            elif path.suffix.lower() in PICTURES:
                self._found[path.parent.name] = path.parent

    def get(self, name: str) -> Footage | None:
        path = self._found.get(name)
        return None if path is None else _footage(path, path, self._folder)

    def of(self, name: str, where: Path) -> Footage:
        """Raises RefilmError if there is none; `where` is the list that names it."""
        footage = self.get(name)
        if footage is None:
            raise RefilmError(
                f"{self._folder}: no clip {name} here or below, but {where.name} lists it; is all of it unpacked?"
            )
        return footage


def _footage(path: Path, listed_in: Path, folder: Path) -> Footage:
    source = "__".join(path.relative_to(folder).parts)
    if path.is_dir() and (pictures := _pictures(path)):
        return Footage(source, pictures)
    if not path.is_file():
        raise RefilmError(f"{path}: not there, but {listed_in.name} lists it; is all of it unpacked?")
    return Footage(source, (path,))


def _pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES))


def _pair(folder: Path, ending: str, held_out: Sequence[str], begin: str = "*") -> list[Path] | None:
    """The lists for training and testing, in the folder or in one below it; None if there are none."""
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        train = sorted(place.glob(f"{begin}train{ending}"))
        other = [path for word in held_out for path in sorted(place.glob(f"{begin}{word}{ending}"))]
        if train and other:
            return [train[0], other[0]]
    return None


def _rows(path: Path, wanted: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a csv file with a header. Raises RefilmError if a column is missing, or if there are no rows."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]
    if not rows or (missing := [name for name in wanted if name not in rows[0]]):
        lacks = f"the column {missing[0]!r} is missing" if rows else "it has no rows"
        raise RefilmError(f"{path}: a line for each clip is wanted, with the columns {', '.join(wanted)}; {lacks}")
    return rows


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise RefilmError(f"{path}: not valid JSON ({error})") from None
