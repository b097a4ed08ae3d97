"""The sink for numbered pictures in a folder of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from refilm.errors import JobError
from refilm.jobs.encoded import Encoded
from refilm.jobs.placing import place_pictures
from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece
from refilm.video.encoder import EncoderSettings
from refilm.video.joining import Piece, write_pictures
from refilm.video.picture_sequence import PictureSequence


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

    def rehearse(self, settings: EncoderSettings, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        self.warn_of_losses(settings, source.info, warn)
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
