"""The protocol of sinks: a video file, numbered pictures, events over time, or the bitstream of a learned codec.

A sink writes each segment into a piece of its own, and joins the pieces in the end. It is a small record that can be
pickled, so that pieces can be made in any process.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo


class Writer(Protocol):
    """Writes the items of one segment to a file.

    pts         times of the packets in ticks, in the order of the file; empty if items do not become packets
    durations   durations of the packets in ticks, by their times
    """

    pts: list[int]
    durations: dict[int, int]

    def write(self, item: Any) -> None: ...

    def close(self) -> None:
        """Finish the file. After an exception call `abort` instead."""
        ...

    def abort(self) -> None:
        """Close the file without finishing it."""
        ...


class Sink(Protocol):
    """Where the result goes, and how it is written.

    Its settings are a dataclass, or None, made once before the work by `settings`. They determine
    how pieces are written.
    """

    @property
    def path(self) -> Path:
        """What the user named: a file, or a pattern for numbered pictures."""
        ...

    @property
    def base(self) -> Path:
        """The file or folder that the work folder and the report are beside, and are named after."""
        ...

    def check(self, source: Path, overwrite: bool) -> None:
        """Raises JobError or VideoError if the result cannot be written. Changes nothing."""
        ...

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> Any:
        """The settings for a source and a stream. Raises VideoError for what cannot be written."""
        ...

    def identity(self, settings: Any) -> dict[str, Any]:
        """The settings that the result depends on, for the identity of the job, in JSON's types."""
        ...

    def described(self, settings: Any) -> dict[str, str]:
        """The settings in words, for the report."""
        ...

    def memory(self, settings: Any, source: VideoInfo) -> tuple[float, float]:
        """(bytes that writing takes, bytes of one item that waits to be written)."""
        ...

    def rehearse(self, settings: Any, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        """Check, before the work, what can be written, and warn of what will be lost."""
        ...

    def writer(self, path: Path, settings: Any) -> Writer:
        """A writer for one piece at `path`."""
        ...

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: Any,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> float | None:
        """Join the pieces, which are in order, at `target`, and sync the result to the disk.

        -> seconds by which sound and picture drift; None if no sound was copied
        """
        ...

    def is_placed(self, joined: Path) -> bool:
        """Whether the result that was at `joined` has been given its final name."""
        ...

    def place(self, joined: Path, overwrite: bool) -> None:
        """Give the result its final name, in one step. JobError if that exists by now, unless `overwrite`."""
        ...


def written(writer: Writer) -> dict[str, array[int]]:
    """The times and durations of a finished writer's packets, as fields of FinishedPiece."""
    return {"pts": array("q", writer.pts), "durations": array("q", (writer.durations[pts] for pts in writer.pts))}
