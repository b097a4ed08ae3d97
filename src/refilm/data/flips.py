"""What flips do to labels: a swipe to the left, mirrored, is a swipe to the right.

A flip maps each label to the label of the flipped clip. Labels that it does not map have no counterpart, so clips of
them are not flipped: a mirrored tick is no tick. Which labels change into which is data. It is taken from

1. `flips.toml` beside a set, with a table for each flip. Labels that a table does not name keep their label; "" means
   that clips of a label are not flipped. Without a table, clips are not flipped in that way.

       [mirror]
       left = "right"
       right = "left"
       tick = ""

2. else the table of known sets below, which are known by their labels;
3. else the words of the labels, for the mirror alone: "left" and "right" are exchanged, as in "pushing something from
   left to right". If there is no such label, clips of the label are not mirrored. This is what Something-Something asks
   for.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from refilm.errors import RefilmError

Flip = Mapping[str, str]  # from the label of a clip to that of the flipped one

_SIDES = re.compile(r"\b(left|right)(?=\b|wards?\b)", re.IGNORECASE)

# By the labels of a set: of each flip, the labels that change, and those that have no counterpart ("").
# The figures of the gesture set are drawn by a fingertip. Drawn backwards, a figure is what it was, except for a tick,
# which begins with its short stroke.
_KNOWN: dict[frozenset[str], dict[str, dict[str, str]]] = {
    frozenset(["caret", "circle", "cross", "down", "left", "none", "right", "square", "star", "tick", "up"]): {
        "mirror": {"left": "right", "right": "left", "tick": ""},
        "reversal": {
            "left": "right",
            "right": "left",
            "up": "down",
            "down": "up",
            "tick": "",
        },
    },
    frozenset(("static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "roll")): {
        "mirror": {"pan left": "pan right", "pan right": "pan left"},
        "upside_down": {"tilt up": "tilt down", "tilt down": "tilt up"},
        "reversal": {
            "pan left": "pan right",
            "pan right": "pan left",
            "tilt up": "tilt down",
            "tilt down": "tilt up",
            "zoom in": "zoom out",
            "zoom out": "zoom in",
        },
    },
}


@dataclass(frozen=True)
class Flips:
    """The flips of a set of clips.

    mirror       left and right are exchanged
    upside_down  above and below are exchanged
    reversal     the last frame comes first
    """

    mirror: Flip = field(default_factory=dict)
    upside_down: Flip = field(default_factory=dict)
    reversal: Flip = field(default_factory=dict)

    def among(self, labels: Collection[str]) -> Flips:
        """The flips that lead to one of some labels."""
        of_kind = {name: getattr(self, name) for name in FLIPS}
        return Flips(**{name: {a: b for a, b in flip.items() if b in labels} for name, flip in of_kind.items()})


FLIPS = tuple(entry.name for entry in fields(Flips))


def flips_of(labels: Sequence[str], folder: Path) -> Flips:
    """The flips of a set with these labels. Raises RefilmError if its `flips.toml` is wrong."""
    path = folder / "flips.toml"
    if path.exists():
        return _read(path, labels)
    known = _KNOWN.get(frozenset(labels))
    if known is None:
        return Flips(mirror=_by_words(labels))
    return Flips(**{name: _completed(changes, labels) for name, changes in known.items()})


def _completed(changes: Mapping[str, str], labels: Sequence[str]) -> Flip:
    return {label: to for label in labels if (to := changes.get(label, label))}


def _by_words(labels: Sequence[str]) -> Flip:
    mirrored = {label: _SIDES.sub(_other_side, label) for label in labels}
    return {label: other for label, other in mirrored.items() if other in mirrored}


def _other_side(found: re.Match[str]) -> str:
    word = found[0]
    other = "right" if word.lower() == "left" else "left"
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other


def _read(path: Path, labels: Sequence[str]) -> Flips:
    try:
        tables = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise RefilmError(f"{path}: not valid TOML ({error})") from None
    if unknown := sorted(set(tables) - set(FLIPS)):
        raise RefilmError(f"{path}: no flip is called {unknown[0]!r}; there are: {', '.join(FLIPS)}")
    for name, changes in tables.items():
        named = set(changes) | set(changes.values()) - {""}
        if unknown := sorted(named - set(labels)):
            raise RefilmError(f"{path}, {name}: no clip has the label {unknown[0]!r}; there are: {', '.join(labels)}")
    return Flips(**{name: _completed(changes, labels) for name, changes in tables.items()})
