"""What a job makes: a video file, numbered pictures, events over time, or the bitstream of a learned codec.

A sink is a small record that can be pickled: a piece can be made in any process. It writes each segment into a piece of
its own, and joins the pieces in the end.
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
    """Writes the items of one segment into one self-contained file.

    pts         where items become packets, their times in ticks, in the order of the file; else empty
    durations   of the packets, by their times
    """

    pts: list[int]
    durations: dict[int, int]

    def write(self, item: Any) -> None: ...

    def close(self) -> None:
        """Finish the file. After an exception call `abort` instead."""
        ...

    def abort(self) -> None: ...


class Sink(Protocol):
    """Where the result goes, and how it is written.

    Settings are a dataclass, chosen once before the work, that decides every byte of a piece.
    """

    @property
    def path(self) -> Path:
        """What the user named: a file, or a pattern for numbered pictures."""
        ...

    @property
    def base(self) -> Path:
        """The file or folder that the work folder and the report lie beside, and are named after."""
        ...

    def check(self, source: Path, overwrite: bool) -> None:
        """JobError or VideoError if the result cannot be written where it is wanted; nothing is touched."""
        ...

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> Any:
        """Raises VideoError for what cannot be written."""
        ...

    def identity(self, settings: Any) -> dict[str, Any]:
        """What of the settings the bytes depend on, in words that can be compared and shown."""
        ...

    def described(self, settings: Any) -> dict[str, str]:
        """The settings for the report."""
        ...

    def memory(self, settings: Any, source: VideoInfo) -> tuple[float, float]:
        """Bytes that writing takes, and that one item takes while it waits to be written."""
        ...

    def rehearse(self, settings: Any, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        """Find out and say before the work what cannot be written."""
        ...

    def writer(self, path: Path, settings: Any) -> Writer: ...

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: Any,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        """Make the whole result at `target`, on the disk. Pieces come in their order."""
        ...

    def is_placed(self, joined: Path) -> bool:
        """Whether the result has its final name and is no longer, or just as well, where it was joined."""
        ...

    def place(self, joined: Path, overwrite: bool) -> None:
        """Give the result its final name, in one step. JobError if somebody has put a file there meanwhile."""
        ...


def written(writer: Writer) -> dict[str, array[int]]:
    """The times of a finished writer's packets, as FinishedPiece has them."""
    return {"pts": array("q", writer.pts), "durations": array("q", (writer.durations[pts] for pts in writer.pts))}
