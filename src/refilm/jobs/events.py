"""The sink for events over time, which recognisers and detectors find, as JSON lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from refilm.jobs.placing import is_file_placed, place_file
from refilm.jobs.sink import check_file
from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece, sync
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo


class Event(Protocol):
    """An event that begins at `time`, in seconds on the source's clock. Stages have dataclasses of their own for it."""

    @property
    def time(self) -> Fraction: ...

    def as_json(self) -> dict[str, Any]:
        """The event in JSON's types. Times should be given both exactly, as "1001/30000", and in decimals."""
        ...


class EventWriter:
    """Writes the events of a segment, one per line. See Writer."""

    def __init__(self, path: Path) -> None:
        self.pts: list[int] = []
        self.durations: dict[int, int] = {}
        self._file = path.open("w", encoding="utf-8")

    def write(self, item: Event) -> None:
        self._file.write(json.dumps(item.as_json()) + "\n")

    def close(self) -> None:
        self._file.close()

    def abort(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class EventFile:
    """A file of JSON lines, such as events.jsonl, in order of time. See Sink for its methods."""

    path: Path

    @property
    def base(self) -> Path:
        return self.path

    def check(self, source: Path, overwrite: bool) -> None:
        check_file(self.path, source, overwrite)

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> None:
        return None

    def identity(self, settings: None) -> dict[str, Any]:
        return {"format": "json lines"}

    def described(self, settings: None) -> dict[str, str]:
        return {"format": "json lines"}

    def memory(self, settings: None, source: VideoInfo) -> tuple[float, float]:
        return 0.0, 0.0

    def rehearse(self, settings: None, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        """Nothing to check: such a file can hold any event."""

    def writer(self, path: Path, settings: None) -> EventWriter:
        return EventWriter(path)

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: None,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        with target.open("wb") as joined:
            for path, _ in pieces:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, joined)
        sync(target)

    def is_placed(self, joined: Path) -> bool:
        return is_file_placed(joined, self.path)

    def place(self, joined: Path, overwrite: bool) -> None:
        place_file(joined, self.path, overwrite)
