"""The protocol of sources: a video file, numbered pictures, or the bitstream of a learned codec."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from refilm.video import Bookmark, Frame, Part, ReadLosses, VideoInfo, VideoReader
from refilm.video.coded import CodedStream
from refilm.video.coded_file import PictureDecoder, decode_by
from refilm.video.companions import StreamPolicy
from refilm.video.encoder import EncoderSettings
from refilm.video.handles import STANDARD_INPUT
from refilm.video.joining import Piece
from refilm.video.picture_sequence import PictureSequence
from refilm.video.rechaptering import Chapter

_SAMPLES, _SAMPLE_BYTES = 16, 1 << 18
_THIS_PROCESS = os.urandom(8).hex()


class Source(Protocol):
    """An open source, such as a VideoReader. It is a context manager that closes it."""

    info: VideoInfo
    losses: ReadLosses

    def __iter__(self) -> Iterator[Frame]: ...

    def resume_at(self, bookmark: Bookmark) -> Iterator[Frame]:
        """The frames from the bookmarked one on. To be used instead of iterating, not after it."""
        ...

    def lost_in(self, first: int, end: int | None) -> dict[str, float]:
        """What could not be read among frames `first` to `end` (exclusive), by the fields of ReadLosses.

        Losses before `end` are reported once and then forgotten.
        """
        ...

    def rehearse(
        self,
        settings: EncoderSettings,
        policy: StreamPolicy,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> None:
        """Write the beginning of a video file as a trial, with the source's sound, subtitles, chapters and metadata."""
        ...

    def join(
        self,
        pieces: Sequence[Piece],
        settings: EncoderSettings,
        policy: StreamPolicy,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> float | None:
        """Write a video file from pieces, with the source's sound, subtitles, chapters and metadata.

        -> seconds by which sound and picture drift; None if no sound was copied
        """
        ...

    def rehearse_copy(self, policy: StreamPolicy, target: Path, format_name: str, warn: Callable[[str], None]) -> None:
        """Write the beginning of a copy with chapters as a trial."""
        ...

    def copy_with_chapters(
        self,
        chapters: Sequence[Chapter],
        policy: StreamPolicy,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> None:
        """Write a copy of the source with these chapters instead of its own."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_source(path: Path, rate: Fraction | None = None, part: Part | None = None) -> Source:
    """Open the source at `path`. Raises VideoError if it cannot be read.

    rate   frame rate of a source without times, such as numbered pictures
    part   the frames that are wanted; None: all
    """
    return VideoReader(path, rate, part)


def frames(path: str | Path | BinaryIO, rate: Fraction | None = None) -> Iterator[Frame]:
    """Every frame of a video, decoded as the iteration goes on. Public as `refilm.open`.

    path   of a video file, a file of a learned codec or a picture sequence, "-" for standard input; or a file opened in
           binary mode, a pipe, or another object with `read`, such as an io.BytesIO, which is copied to a temporary
           file first
    rate   frames a second of a picture sequence, or of another source whose format stores no times

    Raises VideoError if it cannot be read.
    """
    with VideoReader(path, rate) as reader:
        yield from reader


def _decoder_of(stream: CodedStream, path: Path) -> PictureDecoder:
    from refilm.stages.coded_pictures import CodedPictures  # loads torch

    return CodedPictures(stream, path)


decode_by(_decoder_of)


def fingerprint(path: Path) -> str:
    """A digest that tells sources apart without reading the whole file: of its size, and of samples throughout it.

    For numbered pictures: of name, size and time of change of each, and of the contents of the first and last. What
    comes through standard input can be read by this process alone, and is told apart from all else.
    """
    if path == STANDARD_INPUT:
        return f"standard input of {_THIS_PROCESS}"
    sequence = PictureSequence.of(path)
    files = [] if sequence is None else sequence.files()
    if not files:
        return _of_file(path)
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    contents = [_of_file(file) for file in (files[0], files[-1])]
    return hashlib.sha256(repr((states, contents)).encode()).hexdigest()


def _of_file(path: Path) -> str:
    state = hashlib.sha256()
    size = path.stat().st_size
    state.update(str(size).encode())
    with path.open("rb") as file:
        for sample in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
            state.update(file.read(_SAMPLE_BYTES))
    return state.hexdigest()
