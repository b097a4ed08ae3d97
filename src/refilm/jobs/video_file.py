"""The sink for a video file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refilm.jobs.encoded import Encoded
from refilm.jobs.one_file import OneFile
from refilm.jobs.pictures import Picture, Pictures
from refilm.jobs.sink import Sink
from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece, sync
from refilm.options import Encoding
from refilm.video.companions import StreamPolicy
from refilm.video.encoder import PICTURE_CODECS, EncoderSettings
from refilm.video.joining import Piece, output_format
from refilm.video.picture_sequence import PictureSequence
from refilm.video.purposes import check_ending, purpose_of


@dataclass(frozen=True)
class VideoFile(Encoded, OneFile):
    """A video file, with the source's sound, subtitles, chapters, attachments and metadata."""

    def check(self, source: Path, overwrite: bool) -> None:
        super().check(source, overwrite)
        output_format(self.path)

    @property
    def policy(self) -> StreamPolicy:
        """What becomes of the source's other streams."""
        wanted, purpose = self.encoding, purpose_of(self.encoding.purpose)
        return StreamPolicy(
            copy_only=wanted.copy_only,
            drop_streams=wanted.drop_streams,
            audio=wanted.audio or ("copy" if wanted.copy_only else purpose.audio),
            subtitles=wanted.subtitles or "copy",
            asked_by=f"--for {wanted.purpose}" if wanted.audio is None else f"--audio {wanted.audio}",
            elsewhere=wanted.purpose is None,
        )

    def identity(self, settings: EncoderSettings) -> dict[str, Any]:
        streams = {"audio": self.policy.audio, "subtitles": self.policy.subtitles}
        return super().identity(settings) | streams

    def rehearse(self, settings: EncoderSettings, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        self.warn_of_losses(settings, source.info, warn)
        target = folder / f"trial{self.path.suffix}"
        source.rehearse(settings, self.policy, target, output_format(self.path), warn)

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: EncoderSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> float | None:
        parts = [Piece(path, piece.pts, piece.durations) for path, piece in pieces if piece.pts]
        drift = source.join(parts, settings, self.policy, target, output_format(self.path), warn)
        sync(target)
        return drift


def encoded_sink(path: Path, encoding: Encoding) -> Sink:
    """The sink for a path: numbered pictures for a pattern such as frames/%06d.png, a picture, or a video file.

    Raises UsageError if a film for the purpose that `encoding` names has another ending.
    """
    check_ending(path, encoding.purpose)
    if PictureSequence.of(path) is not None:
        return Pictures(path, encoding)
    return Picture(path, encoding) if path.suffix.lower() in PICTURE_CODECS else VideoFile(path, encoding)
