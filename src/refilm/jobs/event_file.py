"""The sink for events over time, which recognisers and detectors find, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from refilm.jobs.one_file import Records, RecordWriter
from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo


class Event(Protocol):
    """An event that begins at `time`, in seconds on the source's clock. Stages have dataclasses of their own for it."""

    @property
    def time(self) -> Fraction: ...

    def as_json(self) -> dict[str, Any]:
        """The event in JSON's types. Times should be given both exactly, as "1001/30000", and in decimals."""
        ...


class EventWriter(RecordWriter):
    """Writes the events of a segment, one per line. See Writer."""

    def write(self, item: Event) -> None:
        self._file.write(json.dumps(item.as_json()).encode() + b"\n")


@dataclass(frozen=True)
class EventFile(Records):
    """A file of JSON lines, such as events.jsonl, in order of time. See Sink for its methods."""

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> None:
        return None

    def identity(self, settings: None) -> dict[str, Any]:
        return {"format": "json lines"}

    def described(self, settings: None) -> dict[str, str]:
        return {"format": "json lines"}

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
        self.concatenate(b"", pieces, target)
