"""The sink for a video file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from refilm.jobs.encoded import Encoded
from refilm.jobs.one_file import OneFile
from refilm.jobs.pictures import Pictures
from refilm.jobs.sink import Sink
from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece, sync
from refilm.options import Encoding
from refilm.video.encoder import EncoderSettings
from refilm.video.joining import Piece, output_format
from refilm.video.picture_sequence import PictureSequence


@dataclass(frozen=True)
class VideoFile(Encoded, OneFile):
    """A video file, with the source's sound, subtitles, chapters, attachments and metadata."""

    def check(self, source: Path, overwrite: bool) -> None:
        output_format(self.path)
        super().check(source, overwrite)

    def rehearse(self, settings: EncoderSettings, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        self.warn_of_losses(settings, source.info, warn)
        source.rehearse(settings, folder / f"trial{self.path.suffix}", output_format(self.path), warn)

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: EncoderSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        parts = [Piece(path, piece.pts, piece.durations) for path, piece in pieces if piece.pts]
        source.join(parts, settings, target, output_format(self.path), warn)
        sync(target)


def encoded_sink(path: Path, encoding: Encoding) -> Sink:
    """The sink for a path: numbered pictures for a pattern such as frames/%06d.png, else a video file."""
    return VideoFile(path, encoding) if PictureSequence.of(path) is None else Pictures(path, encoding)
