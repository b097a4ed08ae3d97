"""The source that reads the bitstream of a learned codec."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from refilm.errors import VideoError
from refilm.jobs.bitstream import MAGIC, BitstreamSettings, records
from refilm.models import MODELS, create_model
from refilm.models.contract import Codec
from refilm.video import Bookmark, Colour, Frame, PixelFormat, ReadLosses, VideoInfo, joining, rechaptering
from refilm.video.companions import StreamPolicy
from refilm.video.encoder import EncoderSettings
from refilm.video.read_losses import BookedLosses
from refilm.video.rgb import from_rgb
from refilm.video.tags import ColourTags
from refilm.video.video_info import BITSTREAM


class _Picture(NamedTuple):
    """Of one picture, what its record says, and where its bytes lie."""

    time: Fraction
    duration: Fraction
    is_key: bool
    place: int
    length: int
    crc32: int


class BitstreamReader:
    """The frames of a bitstream, decoded by the codec it names. A `Source`.

    What is damaged is found by checksums: decoding goes on at the next key picture, and what lies between is counted in
    `losses`. Raises VideoError for a file that is none, that breaks off in its head or whose pictures are all damaged;
    WeightsError or ValueError where its codec is not here.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.losses = path, ReadLosses()
        self._lost = BookedLosses()
        self._file = path.open("rb")
        try:
            if self._file.read(len(MAGIC)) != MAGIC:
                raise VideoError(f"{path}: is not a bitstream of refilm, or of another version of it")
            found = records(self._file)
            head = next(found, None)
            # None for a record that is damaged
            self._pictures = [None if record is None else _picture(*record) for record in found]
            if head is None or not any(self._pictures):
                raise VideoError(f"{path}: is damaged, or breaks off before its first picture")
            described, _ = head
            settings = BitstreamSettings(**{field.name: described[field.name] for field in fields(BitstreamSettings)})
            model = create_model(settings.model, weights=_weights(settings)).eval()
        except BaseException:
            self._file.close()
            raise
        self._codec = cast(Codec, model)
        self._end = Fraction(described["end"])
        self.info = _described(path, settings, self._end, len(self._pictures))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames(None)

    def resume_at(self, bookmark: Bookmark) -> Iterator[Frame]:
        """Decoding begins at the key picture before it, which gives the same picture, or the file has changed."""
        return self._frames(bookmark)

    def lost_in(self, first: int, end: int | None) -> dict[str, float]:
        """See `Source.lost_in`."""
        return self._lost.take(first, end)

    def rehearse(
        self,
        settings: EncoderSettings,
        policy: StreamPolicy,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> None:
        joining.rehearse(settings, policy, self.info, target, format_name, warn)

    def join(
        self,
        pieces: Sequence[joining.Piece],
        settings: EncoderSettings,
        policy: StreamPolicy,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> float | None:
        return joining.join(pieces, settings, policy, self.info, target, format_name, warn, lambda: None, lambda: None)

    def rehearse_copy(self, policy: StreamPolicy, target: Path, format_name: str, warn: Callable[[str], None]) -> None:
        rechaptering.rehearse_copy(policy, self.info, target, format_name, warn)  # says why not

    def copy_with_chapters(
        self,
        chapters: Sequence[rechaptering.Chapter],
        policy: StreamPolicy,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> None:
        raise VideoError(f"{self.path}: a learned codec's bitstream cannot be copied with chapters")

    def _frames(self, start: Bookmark | None) -> Iterator[Frame]:
        number, pictures, waiting = 0, self._pictures, False  # for a key picture, after damage
        if start is not None:
            keys = [n for n, p in enumerate(pictures) if p is not None and p.is_key and p.time <= start.time]
            number, pictures = start.index, pictures[max(keys, default=0) :]
        for picture in pictures:
            data = self._data(picture)
            if picture is None or data is None or (waiting and not picture.is_key):
                waiting = True
                self._lose(number, {"damaged_packets": 1})
                continue
            waiting = False
            if picture.is_key:
                self._codec.reset()
            planes = from_rgb(self._codec.decompress(data), self.info.format, self.info.colour)
            frame = Frame(planes, self.info.format, self.info.colour, picture.time, picture.duration)
            if start is not None and frame.time < start.time:
                continue
            is_start = start is not None and number == start.index
            if is_start and Bookmark.of(frame, number) != start:
                raise VideoError(f"{self.path}: gives another picture than before at {float(frame.time):.3f} s")
            yield frame
            number += 1
        if number == 0:
            raise VideoError(f"{self.path}: is damaged, none of its pictures can be decoded")
        ends = max(picture.time + picture.duration for picture in self._pictures if picture is not None)
        if ends < self._end:
            self._lose(number, {"missing_seconds": float(self._end - ends)})

    def _data(self, picture: _Picture | None) -> bytes | None:
        """Its bytes; None where they are damaged."""
        if picture is None:
            return None
        self._file.seek(picture.place)
        data = self._file.read(picture.length)
        return data if zlib.crc32(data) == picture.crc32 else None

    def _lose(self, number: int, lost: dict[str, float]) -> None:
        """Counted with the frame before number `number`, if there is one, as a VideoReader does."""
        self.losses.add(lost)
        self._lost.book(max(number - 1, 0), lost)


def _picture(description: dict[str, Any], place: int) -> _Picture:
    time, duration = Fraction(description["time"]), Fraction(description["duration"])
    return _Picture(time, duration, description["key"], place, description["bytes"], description["crc32"])


def _weights(settings: BitstreamSettings) -> str | None:
    if settings.model not in MODELS:
        raise VideoError(f"this bitstream was made by {settings.model}, which this refilm does not have")
    ours = MODELS[settings.model].weights
    if settings.weights != ours:
        raise VideoError(f"this bitstream was made with the weights {settings.weights}, and here there are {ours}")
    return "default"


def _described(path: Path, settings: BitstreamSettings, end: Fraction, pictures: int) -> VideoInfo:
    start, held = Fraction(settings.start_time), PixelFormat(**settings.format)
    return VideoInfo(
        path=path,
        container=BITSTREAM,
        codec=settings.model,
        width=settings.width,
        height=settings.height,
        pix_fmt=held.name,
        format=held,
        tags=ColourTags(**settings.tags),
        colour=Colour(**settings.colour),
        mastering_display=None,
        content_light=None,
        not_carried=(),
        stereo_mode=None,
        sample_aspect_ratio=Fraction(settings.sample_aspect_ratio),
        rotation=settings.rotation,
        display_matrix=None if settings.display_matrix is None else tuple(settings.display_matrix),
        interlaced=False,
        frame_rate=Fraction(settings.frame_rate),
        time_base=Fraction(settings.time_base),
        start_time=start,
        duration=end - start,
        frames=pictures,
        alpha=False,
        video_index=0,
        others=(),
        chapters=0,
    )
