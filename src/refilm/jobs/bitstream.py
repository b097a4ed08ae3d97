"""The bitstream of a learned codec as a file: a sink that writes it, and a source that reads it.

    file      MAGIC, a record that describes the video, and one record for each picture
    record    length of a JSON object (4 bytes, big-endian), the object, and as many bytes as its field "bytes" says

The record of a picture has its exact time and duration, whether decoding can begin with it (a key picture), and the
CRC-32 of its bytes. Each segment of a job begins with a key picture. Sound, subtitles and the like are left out, with a
warning.
"""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, cast

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
from refilm.video.video_info import BITSTREAM

MAGIC = b"refilm bitstream 1\n"
_LENGTH = struct.Struct(">I")
_LONGEST = 1 << 20  # bytes of the JSON object in a record, at most; more means that the file is damaged


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


@dataclass(frozen=True)
class BitstreamSettings:
    """The first record of the file: which codec decodes it, and how its pictures are to be shown."""

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
    """Writes the records of one segment. See Writer."""

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
    """A file that the codec `model` decodes, with the weight file of that name; None: without weights."""

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
            _write_record(joined, asdict(settings), b"")
            for path, _ in pieces:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, joined)
        sync(target)

    def is_placed(self, joined: Path) -> bool:
        return is_file_placed(joined, self.path)

    def place(self, joined: Path, overwrite: bool) -> None:
        place_file(joined, self.path, overwrite)


def is_bitstream(path: Path) -> bool:
    """Whether `path` is a file that begins with MAGIC."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


class BitstreamReader:
    """The frames of a bitstream, decoded by the codec that it names. A `Source`.

    Damaged pictures are detected by their checksums. Decoding then continues at the next key picture, and the pictures
    before it are counted in `losses`. Raises VideoError if the file is not a bitstream, ends within its first record,
    or needs a codec or weights that are not installed; WeightsError as `create_model`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.losses = path, ReadLosses()
        self._file = path.open("rb")
        try:
            if self._file.read(len(MAGIC)) != MAGIC:
                raise VideoError(f"{path}: is not a bitstream of refilm, or of another version of it")
            head = next(_records(self._file), None)
            if head is None:
                raise VideoError(f"{path}: breaks off before its first picture")
            settings = BitstreamSettings(**{key: value for key, value in head[0].items() if key != "bytes"})
            self._pictures = list(_records(self._file))
            model = create_model(settings.model, weights=_weights(settings)).eval()
        except BaseException:
            self._file.close()
            raise
        self._codec = cast(Codec, model)
        self.info = _described(path, settings, [description for description, _ in self._pictures])
        self._lost: list[tuple[int, dict[str, float]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames(0)

    def resume_at(self, bookmark: Bookmark) -> Iterator[Frame]:
        """See `Source.resume_at`. Decoding begins at the key picture before the bookmark.

        Raises VideoError if this does not give the same picture as before.
        """
        keys = [number for number, (picture, _) in enumerate(self._pictures) if picture["key"]]
        first = max((number for number in keys if number <= bookmark.index), default=0)
        for number, frame in enumerate(self._frames(first), start=first):
            if number == bookmark.index and digest(frame) != bookmark.digest:
                raise VideoError(f"{self.path}: gives another picture than before at {float(frame.time):.3f} s")
            if number >= bookmark.index:
                yield frame

    def lost_in(self, first: int, end: int | None) -> dict[str, float]:
        """See `Source.lost_in`."""
        total: dict[str, float] = {}
        while self._lost and (end is None or self._lost[0][0] < end):
            number, lost = self._lost.pop(0)
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

    def _frames(self, first: int) -> Iterator[Frame]:
        """The frames from number `first` on, which must be a key picture."""
        waiting = False  # whether pictures are skipped up to the next key picture, after a damaged one
        for number, (picture, place) in enumerate(self._pictures[first:], start=first):
            self._file.seek(place)
            data = self._file.read(picture["bytes"])
            is_whole = zlib.crc32(data) == picture["crc32"]
            waiting = not is_whole or (waiting and not picture["key"])
            if waiting:
                self.losses.damaged_packets += 1
                self._lost.append((number, {"damaged_packets": 1.0}))
                continue
            if picture["key"]:
                self._codec.reset()
            rgb = self._codec.decompress(data)
            time, duration = Fraction(picture["time"]), Fraction(picture["duration"])
            planes = from_rgb(rgb, self.info.format, self.info.colour)
            yield Frame(planes, self.info.format, self.info.colour, time, duration)


def _write_record(file: BinaryIO, description: dict[str, Any], data: bytes) -> None:
    head = json.dumps(description | {"bytes": len(data)}).encode()
    file.write(_LENGTH.pack(len(head)) + head + data)


def _records(file: BinaryIO) -> Iterator[tuple[dict[str, Any], int]]:
    """The remaining records, each with the position of its bytes in the file. Ends where the file is cut off."""
    while len(length := file.read(_LENGTH.size)) == _LENGTH.size:
        (count,) = _LENGTH.unpack(length)
        text = file.read(count) if count <= _LONGEST else b""
        try:
            description = json.loads(text)
        except ValueError:
            return
        place = file.tell()
        yield description, place
        file.seek(place + description["bytes"])


def _weights(settings: BitstreamSettings) -> str | None:
    from refilm.models import MODELS

    if settings.model not in MODELS:
        raise VideoError(f"this bitstream was made by {settings.model}, which this refilm does not have")
    ours = MODELS[settings.model].weights
    if settings.weights != ours:
        raise VideoError(f"this bitstream was made with the weights {settings.weights}, and here there are {ours}")
    return "default"


def _described(path: Path, settings: BitstreamSettings, pictures: Sequence[dict[str, Any]]) -> VideoInfo:
    start, duration = Fraction(settings.start_time), None
    if pictures:
        duration = Fraction(pictures[-1]["time"]) + Fraction(pictures[-1]["duration"]) - start
    held = PixelFormat(**settings.format)
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
        sample_aspect_ratio=Fraction(settings.sample_aspect_ratio),
        rotation=settings.rotation,
        display_matrix=None if settings.display_matrix is None else tuple(settings.display_matrix),
        interlaced=False,
        frame_rate=Fraction(settings.frame_rate),
        time_base=Fraction(settings.time_base),
        start_time=start,
        duration=duration,
        frames=len(pictures),
        alpha=False,
        video_index=0,
        others=(),
        chapters=0,
    )
