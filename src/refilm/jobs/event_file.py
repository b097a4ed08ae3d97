"""The sink for events over time, which recognisers and detectors find, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from refilm.errors import UsageError
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


def read_events(pieces: Sequence[tuple[Path, FinishedPiece]]) -> Iterator[dict[str, Any]]:
    """The events of all pieces, as `Event.as_json` has given them, in their order."""
    for path, _ in pieces:
        with path.open("rb") as file:
            yield from map(json.loads, file)


@dataclass(frozen=True)
class Events(Records):
    """The common base of sinks for events, whose pieces have a line of JSON for each. See Sink for its methods.

    form   what is written
    """

    form = ""

    def identity(self, settings: Any) -> dict[str, Any]:
        return {"format": self.form}

    def described(self, settings: Any) -> dict[str, str]:
        return {"format": self.form}

    def rehearse(self, settings: Any, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        """Nothing to check: such a file can hold any event."""

    def writer(self, path: Path, settings: Any) -> EventWriter:
        return EventWriter(path)


def form_of(path: Path, form: str | None, endings: Mapping[str, str], or_else: str = "") -> str:
    """What to write into a file: `form`, or what the ending of its name says, by `endings`.

    or_else   further endings, for the words of the error

    Raises UsageError if the ending says nothing.
    """
    form = form or endings.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"{path}: cannot tell what to write from the name; take one of {', '.join(sorted(endings))}{or_else}"
        )
    return form


@dataclass(frozen=True)
class EventFile(Events):
    """A file of JSON lines, such as events.jsonl, in order of time."""

    form = "json lines"

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> None:
        return None

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: None,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        self.concatenate(b"", pieces, target)
