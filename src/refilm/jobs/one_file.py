"""The common base of sinks that make a single file, and of those whose file consists of records."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from refilm.errors import JobError
from refilm.jobs.placing import place_file
from refilm.jobs.work_folder import FinishedPiece, sync
from refilm.video import VideoInfo
from refilm.video.containers import is_elsewhere


@dataclass(frozen=True)
class OneFile:
    """The part of a Sink that checks the path of a file and gives the finished file its name."""

    path: Path

    @property
    def base(self) -> Path:
        return self.path

    def check(self, source: Path, overwrite: bool) -> None:
        if is_elsewhere(self.path):
            raise JobError(f"{self.path}: refilm writes files, not to addresses or standard output; name a file")
        if self.path.is_dir():
            raise JobError(f"{self.path}: is a folder; give the name of a file in it")
        if self.path.exists() and source.exists() and self.path.samefile(source):
            raise JobError(f"{self.path}: is the input; write to another name")
        if self.path.exists() and not overwrite:
            raise JobError(f"{self.path}: exists; choose another name, or add --overwrite")

    def is_placed(self, joined: Path) -> bool:
        # it is moved there in one step, so then it is no longer at `joined`, or both names are links to the same file
        return self.path.exists() and (not joined.exists() or joined.samefile(self.path))

    def place(self, joined: Path, overwrite: bool) -> None:
        place_file(joined, self.path, overwrite)


@dataclass(frozen=True)
class Records(OneFile):
    """A file of records, one per item. The joined file is a head, followed by the pieces in order."""

    def memory(self, settings: Any, source: VideoInfo) -> tuple[float, float]:
        """Records need hardly any memory, compared with frames."""
        return 0.0, 0.0

    def concatenate(self, head: bytes, pieces: Sequence[tuple[Path, FinishedPiece]], target: Path) -> None:
        """Write `head` and the content of the pieces to `target`, and sync it to the disk."""
        with target.open("wb") as joined:
            joined.write(head)
            for path, _ in pieces:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, joined)
        sync(target)


class RecordWriter:
    """The common base of Writers of records. Subclasses define `write`."""

    def __init__(self, path: Path) -> None:
        self.pts: list[int] = []  # empty: records are not packets
        self.durations: dict[int, int] = {}
        self._file: BinaryIO = path.open("wb")

    def close(self) -> None:
        self._file.close()

    def abort(self) -> None:
        self._file.close()
