"""The sinks for a single picture, and for numbered pictures in a folder of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from refilm.errors import JobError, UsageError, VideoError
from refilm.jobs.encoded import Encoded
from refilm.jobs.one_file import OneFile
from refilm.jobs.placing import place_pictures
from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece, sync
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo
from refilm.video.encoder import EncoderSettings
from refilm.video.joining import Piece, picture_files, write_pictures
from refilm.video.picture_marks import read_marks, with_marks
from refilm.video.picture_sequence import PictureSequence


@dataclass(frozen=True)
class Picture(Encoded, OneFile):
    """A single picture, from the file of one, with its EXIF and its colour profile where the format has room."""

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> EncoderSettings:
        _refuse_streams(self)
        if not source.is_picture:
            raise VideoError(
                f"{self.path}: is the name of one picture, and {source.path} is a film; name a file such as "
                f"{self.path.stem}.mkv, or numbered pictures such as {self.path.stem}/%06d{self.path.suffix}"
            )
        return super().settings(source, shape, threads)

    def rehearse(self, settings: EncoderSettings, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        carried = replace(source.info, not_carried=())  # see `join`
        self.warn_of_losses(settings, carried, warn)

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: EncoderSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        first, *others = picture_files(Piece(path, piece.pts, piece.durations) for path, piece in pieces)
        if others:
            raise VideoError(f"{source.info.path}: holds {1 + len(others)} pictures; write to .mkv, or to %06d.png")
        content, lost = with_marks(first, read_marks(source.info.path.read_bytes()))
        target.write_bytes(content)
        sync(target)
        for words in lost:
            warn(f"{self.path.suffix} does not hold {words}, which is not carried over; .png does")


@dataclass(frozen=True)
class Pictures(Encoded):
    """Numbered pictures. `path` is a pattern such as frames/%06d.png, whose ending decides the codec."""

    @property
    def base(self) -> Path:
        return self.path.parent.resolve()

    def check(self, source: Path, overwrite: bool) -> None:
        folder, theirs = self.base, PictureSequence.of(source)
        if folder == Path.cwd():
            raise JobError(f"{self.path}: name a folder of its own for the pictures, such as frames/{self.path.name}")
        if theirs is not None and source.parent.resolve() == folder:
            raise JobError(f"{folder}: holds the input; write to another folder")
        if folder.exists() and any(folder.iterdir()) and not overwrite:
            raise JobError(f"{folder}: is not empty; choose another folder, or --overwrite to replace its pictures")

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> EncoderSettings:
        _refuse_streams(self)
        return super().settings(source, shape, threads)

    def rehearse(self, settings: EncoderSettings, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        self.warn_of_losses(settings, source.info, warn)
        if source.info.stereo_mode:
            warn("the source has the mark of a stereoscopic video, which is not carried over")
        for stream in source.info.others:
            warn(f"{stream} is left out: pictures have no place for it")
        if source.info.chapters:
            warn(f"{source.info.chapters} chapters are left out: pictures have no place for them")

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: EncoderSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        write_pictures(
            [Piece(path, piece.pts, piece.durations) for path, piece in pieces], target, PictureSequence(self.path)
        )

    def is_placed(self, joined: Path) -> bool:
        return not joined.exists() and bool(PictureSequence(self.path).files())

    def place(self, joined: Path, overwrite: bool) -> None:
        place_pictures(joined, self.path)


def _refuse_streams(sink: Encoded) -> None:
    """Raises UsageError if the user asks for sound or subtitles."""
    for name in ("audio", "subtitles"):
        if (wanted := getattr(sink.encoding, name)) not in (None, "none"):
            raise UsageError(f"{sink.path}: pictures have no place for sound or subtitles; leave out --{name} {wanted}")
