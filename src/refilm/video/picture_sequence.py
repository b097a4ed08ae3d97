"""Numbered pictures in a folder, which are read and written like a film."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from refilm.errors import VideoError

RATE = Fraction(25)  # frames a second unless said otherwise, as in FFmpeg: pictures have no clock


@dataclass(frozen=True)
class PictureSequence:
    """Pictures whose names differ by a number, as `frames/%06d.png` says.

    pattern   the path of every picture, with one number pattern, %d or such as %06d, in its name

    Raises VideoError for a name without such a pattern.
    """

    pattern: Path

    def __post_init__(self) -> None:
        if _split(self.pattern.name) is None:
            raise VideoError(f"{self.pattern}: a picture sequence needs one number pattern such as %06d in its name")

    @classmethod
    def of(cls, path: Path) -> PictureSequence | None:
        """The sequence that `path` means; None where it is the name of a file, whether or not that exists."""
        return None if _split(path.name) is None or path.exists() else cls(path)

    @property
    def folder(self) -> Path:
        return self.pattern.parent

    def name(self, number: int) -> str:
        """The file name of a picture."""
        return self.pattern.name % number

    def files(self) -> list[Path]:
        """The pictures that exist, in the order of their numbers."""
        return [file for _, file in self._numbered()]

    def open(self, rate: Fraction | None, options: dict[str, str]) -> InputContainer:
        """The pictures that exist, as a film at `rate` frames a second, 25 if None.

        options   FFmpeg's, for opening it
        Raises VideoError where there is no picture, or one is missing between the first and the last.
        """
        numbered = self._numbered()
        if not numbered:
            raise VideoError(f"{self.pattern}: no picture of this sequence exists")
        (first, first_file), (last, last_file) = numbered[0], numbered[-1]
        if last - first + 1 != len(numbered):
            raise VideoError(
                f"{self.pattern}: the sequence has gaps ({len(numbered)} pictures from {first_file.name} to "
                f"{last_file.name})"
            )
        folder = str(self.folder).replace("%", "%%")  # only the name is a pattern
        options = options | {"framerate": str(RATE if rate is None else rate), "start_number": str(first)}
        return av.open(f"file:{folder}/{self.pattern.name}", format="image2", options=options)

    def _numbered(self) -> list[tuple[int, Path]]:
        around = _split(self.pattern.name)
        assert around is not None
        head, tail = (re.escape(part) for part in around)
        found = []
        for file in self.folder.glob("*"):
            match = re.fullmatch(f"{head}([0-9]+){tail}", file.name)
            if match and self.name(int(match[1])) == file.name:
                found.append((int(match[1]), file))
        return sorted(found)


def _split(name: str) -> tuple[str, str] | None:
    """What stands before and after the number pattern of a name; None where it has none."""
    match = re.fullmatch(r"([^%]*)%[0-9]*d([^%]*)", name, re.DOTALL)
    if match is None or match[2][:1].isalpha():
        return None  # "50%discount.mp4" is a name like any other
    return match[1], match[2]
