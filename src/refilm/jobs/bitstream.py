"""The bitstream of a learned codec as a file: a sink that writes one, and a source that reads it.

    file      MAGIC, a record that describes the video, one record a picture
    record    four bytes that mark it, length and CRC-32 of a JSON object (4 bytes each, big-endian), the object, then
              as many bytes as its field "bytes" says

A picture's record has its exact time and duration, whether decoding can begin there, and the CRC-32 of its bytes. Each
segment of a job begins with such a key picture. What is damaged ends with the next one: the marks tell where records
begin, and the video's record when the last picture ends. Holds the pictures alone: sound and the like are named and
left out.
"""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, Self, cast

from refilm.errors import VideoError
from refilm.jobs.placing import is_file_placed, place_file
from refilm.jobs.sink import check_file
from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece, sync
from refilm.models import create_model
from refilm.models.contract import Codec
from refilm.stages.stage import StreamShape
from refilm.video import Bookmark, Colour, Frame, PixelFormat, ReadLosses, VideoInfo, digest, joining
from refilm.video.encoder import EncoderSettings
from refilm.video.rgb import from_rgb
from refilm.video.tags import ColourTags

MAGIC = b"refilm bitstream 1\n"
_MARK = b"\xf5rec"
_HEAD = struct.Struct(">4sII")  # of a record: the mark, length and CRC-32 of the object
_LONGEST = 1 << 20  # bytes of a record's description; more is damage


class Chunk(Protocol):
    """What a codec's stage gives for each frame."""

    @property
    def time(self) -> Fraction: ...

    @property
    def duration(self) -> Fraction: ...

    @property
    def is_key(self) -> bool:
        """Whether decoding can begin with it."""
        ...

    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True)
class BitstreamSettings:
    """What stands at the head of the file: which codec reads it, and how its pictures are to be shown."""

    model: str
    weights: str | None
    width: int
    height: int
    format: dict[str, Any]
    colour: dict[str, Any]
    tags: dict[str, Any]
    sample_aspect_ratio: str
    rotation: int
    display_matrix: list[int] | None
    frame_rate: str
    time_base: str
    start_time: str


class BitstreamWriter:
    """One segment's records."""

    def __init__(self, path: Path) -> None:
        self.pts: list[int] = []
        self.durations: dict[int, int] = {}
        self._file = path.open("wb")

    def write(self, item: Chunk) -> None:
        description = {"time": str(item.time), "duration": str(item.duration), "key": item.is_key}
        _write_record(self._file, description | {"crc32": zlib.crc32(item.data)}, item.data)

    def close(self) -> None:
        self._file.close()

    def abort(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class BitstreamFile:
    """A file that the codec `model` decodes, with weights of that file name, or none."""

    path: Path
    model: str
    weights: str | None = None

    @property
    def base(self) -> Path:
        return self.path

    def check(self, source: Path, overwrite: bool) -> None:
        check_file(self.path, source, overwrite)

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

    def memory(self, settings: BitstreamSettings, source: VideoInfo) -> tuple[float, float]:
        return 0.0, 0.0

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
        with target.open("wb") as joined:
            joined.write(MAGIC)
            _write_record(joined, asdict(settings) | {"end": pieces[-1][1].source_end}, b"")
            for path, _ in pieces:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, joined)
        sync(target)

    def is_placed(self, joined: Path) -> bool:
        return is_file_placed(joined, self.path)

    def place(self, joined: Path, overwrite: bool) -> None:
        place_file(joined, self.path, overwrite)


def is_bitstream(path: Path) -> bool:
    """Whether there is a file that begins as ours do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


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
        self._lost: deque[tuple[int, dict[str, float]]] = deque()
        self._file = path.open("rb")
        try:
            if self._file.read(len(MAGIC)) != MAGIC:
                raise VideoError(f"{path}: is not a bitstream of refilm, or of another version of it")
            records = _records(self._file)
            head = next(records, None)
            # None for a record that is damaged
            self._pictures = [None if record is None else _picture(*record) for record in records]
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
        total: dict[str, float] = {}
        while self._lost and (end is None or self._lost[0][0] < end):
            number, lost = self._lost.popleft()
            for name, amount in lost.items() if number >= first else ():
                total[name] = total.get(name, 0.0) + amount
        return total

    def rehearse(self, settings: EncoderSettings, target: Path, format_name: str, warn: Callable[[str], None]) -> None:
        joining.rehearse(settings, self.info, target, format_name, warn)

    def join(
        self,
        pieces: Sequence[joining.Piece],
        settings: EncoderSettings,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> None:
        joining.join(pieces, settings, self.info, target, format_name, warn, lambda: None, lambda: None)

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
            if is_start and Bookmark(number, frame.time, digest(frame)) != start:
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
        self._lost.append((max(number - 1, 0), lost))


def _write_record(file: BinaryIO, description: dict[str, Any], data: bytes) -> None:
    text = json.dumps(description | {"bytes": len(data)}).encode()
    file.write(_HEAD.pack(_MARK, len(text), zlib.crc32(text)) + text + data)


def _records(file: BinaryIO) -> Iterator[tuple[dict[str, Any], int] | None]:
    """The records from here on, and where the bytes of each begin; None for one that is damaged."""
    place: int | None = file.tell()
    while place is not None:
        file.seek(place)
        head = file.read(_HEAD.size)
        if not head:
            return
        mark, count, checksum = _HEAD.unpack(head.ljust(_HEAD.size, b"\0"))
        text = file.read(min(count, _LONGEST))
        if mark == _MARK and zlib.crc32(text) == checksum:
            description = json.loads(text)
            yield description, file.tell()
            place = file.tell() + description["bytes"]
        else:
            yield None
            place = _next_mark(file, place + 1)


def _next_mark(file: BinaryIO, place: int) -> int | None:
    """Where the next mark is, from `place` on; None where there is none."""
    file.seek(place)
    held = b""
    while chunk := file.read(_LONGEST):
        held = held[1 - len(_MARK) :] + chunk
        if (found := held.find(_MARK)) >= 0:
            return file.tell() - len(held) + found
    return None


def _picture(description: dict[str, Any], place: int) -> _Picture:
    time, duration = Fraction(description["time"]), Fraction(description["duration"])
    return _Picture(time, duration, description["key"], place, description["bytes"], description["crc32"])


def _weights(settings: BitstreamSettings) -> str | None:
    from refilm.models import MODELS

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
        container=joining.BITSTREAM,
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
