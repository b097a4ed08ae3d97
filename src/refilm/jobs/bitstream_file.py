"""The sink for the bitstream of a learned codec."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from refilm.jobs.bitstream import MAGIC, BitstreamSettings, record
from refilm.jobs.one_file import Records, RecordWriter
from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo


class Chunk(Protocol):
    """The item that the stage of a codec makes of each frame. Times are in seconds."""

    @property
    def time(self) -> Fraction: ...

    @property
    def duration(self) -> Fraction: ...

    @property
    def is_key(self) -> bool:
        """Whether decoding can begin with this picture."""
        ...

    @property
    def data(self) -> bytes: ...


class BitstreamWriter(RecordWriter):
    """Writes the records of one segment. See Writer."""

    def write(self, item: Chunk) -> None:
        description = {"time": str(item.time), "duration": str(item.duration), "key": item.is_key}
        self._file.write(record(description | {"crc32": zlib.crc32(item.data)}, item.data))


@dataclass(frozen=True)
class BitstreamFile(Records):
    """A file that the codec `model` decodes, with the weight file of that name; None: without weights."""

    model: str
    weights: str | None = None

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> BitstreamSettings:
        return BitstreamSettings(
            model=self.model,
            weights=self.weights,
            width=shape.width,
            height=shape.height,
            format=asdict(source.format),
            colour=asdict(source.colour),
            tags=asdict(source.tags),
            sample_aspect_ratio=str(source.sample_aspect_ratio),
            rotation=source.rotation,
            display_matrix=None if source.display_matrix is None else list(source.display_matrix),
            frame_rate=str(shape.frame_rate),
            time_base=str(shape.time_base),
            start_time=str(shape.start_time),
        )

    def identity(self, settings: BitstreamSettings) -> dict[str, Any]:
        return asdict(settings)

    def described(self, settings: BitstreamSettings) -> dict[str, str]:
        return {"format": "refilm bitstream", "model": settings.model}

    def rehearse(self, settings: BitstreamSettings, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        for stream in source.info.others:
            warn(f"{stream} is left out: a bitstream holds pictures alone")

    def writer(self, path: Path, settings: BitstreamSettings) -> BitstreamWriter:
        return BitstreamWriter(path)

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: BitstreamSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        self.concatenate(MAGIC + record(asdict(settings) | {"end": pieces[-1][1].source_end}), pieces, target)
