"""The file of a learned codec (.rfv): Matroska with a video codec of its own. docs/rfv.md describes it.

FFmpeg writes and reads the container, so sound, subtitles, chapters, attachments, metadata and the index are those of
any Matroska file. FFmpeg has no such codec: the video stream is muxed under the name of one that it has (CARRIER), and
the name is exchanged in the finished file. The stream's tag REFILM says how its pictures are decoded and shown.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from refilm.errors import VideoError
from refilm.video.colour import Colour
from refilm.video.pixel_format import PixelFormat
from refilm.video.tags import ColourTags

SUFFIX = ".rfv"
CARRIER = "snow"  # FFmpeg's name of a codec that nobody uses, with a name in Matroska of the same length
_CARRIED, _OWN = b"\x86\x86V_SNOW", b"\x86\x86V_RFV1"  # the element CodecID: its number, its length, its content
_CHECK = ', "crc32": '  # in a tag, what comes before the checksum of all before this
_HEADER = 1 << 22  # bytes in which the description of the streams lies
TAG = "REFILM"
VERSION = 2

# What the first byte of a picture says: how it is coded, and whether decoding can begin with it.
BY_MODEL, BY_HEVC, BY_AV1 = 1, 2, 3
KEY, CHECKED = 0x80, 0x40  # CHECKED: four bytes with the CRC-32 of the decoded picture follow


@dataclass(frozen=True)
class CodedStream:
    """The tag REFILM: which codec decodes the pictures, and how they are to be shown.

    weights   name of the weight file, which follows from its content; None: a codec without weights
    """

    model: str
    weights: str | None
    width: int
    height: int
    format: PixelFormat
    colour: Colour
    tags: ColourTags
    sample_aspect_ratio: Fraction
    rotation: int
    display_matrix: tuple[int, ...] | None
    frame_rate: Fraction
    time_base: Fraction

    def to_json(self) -> str:
        plain = {key: str(value) if isinstance(value, Fraction) else value for key, value in asdict(self).items()}
        text = json.dumps({"version": VERSION, **plain})[:-1]
        return f'{text}{_CHECK}"{zlib.crc32(text.encode()):08x}"}}'

    @classmethod
    def from_json(cls, text: str, path: Path) -> CodedStream:
        """Raises VideoError for a text that `to_json` did not make, or another version's."""
        try:
            told = json.loads(text)
            version, checksum = told.pop("version"), told.pop("crc32", None)
            if version != VERSION:
                raise VideoError(
                    f"{path}: is in version {version} of the format, and this refilm reads version {VERSION}"
                )
            if checksum != f"{zlib.crc32(text.rpartition(_CHECK)[0].encode()):08x}":
                raise ValueError("the checksum is another one")
            for key in ("sample_aspect_ratio", "frame_rate", "time_base"):
                told[key] = Fraction(told[key])
            for key, kind in (("format", PixelFormat), ("colour", Colour), ("tags", ColourTags)):
                told[key] = kind(**told[key])
            if told["display_matrix"] is not None:
                told["display_matrix"] = tuple(told["display_matrix"])
            stream = cls(**told)
            sound = stream.width > 0 < stream.height and stream.frame_rate > 0 < stream.time_base
        except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
            sound = False
        if not sound:
            raise VideoError(f"{path}: what it says of its pictures is damaged")
        return stream


class Picture(NamedTuple):
    """A picture as it is coded.

    how       BY_MODEL, BY_HEVC or BY_AV1
    is_key    whether decoding can begin with it
    checksum  CRC-32 of the decoded picture; None: not noted
    data      its bytes
    """

    how: int
    is_key: bool
    checksum: int | None
    data: bytes

    def pack(self) -> bytes:
        """The picture as bytes, without its place and time."""
        checked = self.checksum is not None
        first = self.how | KEY * self.is_key | CHECKED * checked
        return bytes([first]) + (self.checksum or 0).to_bytes(4, "big") * checked + self.data

    @classmethod
    def unpack(cls, data: bytes) -> Picture:
        """The inverse of `pack`. Raises ValueError for bytes that are none."""
        if not data or (data[0] & CHECKED and len(data) < 5):
            raise ValueError("too short for a picture")
        start = 5 if data[0] & CHECKED else 1
        checksum = int.from_bytes(data[1:5], "big") if start == 5 else None
        return cls(data[0] & 0x3F, bool(data[0] & KEY), checksum, data[start:])


class Placed(NamedTuple):
    """A picture with its number in the file, and its time and duration in ticks of `CodedStream.time_base`."""

    number: int
    ticks: int
    duration: int
    picture: Picture


def packet_of(number: int, ticks: int, duration: int, picture: bytes) -> bytes:
    """The bytes of a packet: CRC-32 of what follows; number, time, duration; the picture as `Picture.pack` has it."""
    content = _varint(number) + _varint(ticks) + _varint(duration) + picture
    return zlib.crc32(content).to_bytes(4, "big") + content


def placed(packet: bytes) -> Placed | None:
    """The inverse of `packet_of`; None for a packet that is damaged."""
    content = packet[4:]
    if len(packet) < 8 or zlib.crc32(content) != int.from_bytes(packet[:4], "big"):
        return None
    numbers, place = [], 0
    try:
        for _ in range(3):
            number, place = _read_varint(content, place)
            numbers.append(number)
        return Placed(numbers[0], numbers[1], numbers[2], Picture.unpack(content[place:]))
    except (IndexError, ValueError):
        return None


def is_coded(path: Path) -> bool:
    """Whether it is a file of a learned codec."""
    if not path.is_file():  # to open a pipe would wait for its writer
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x1a\x45\xdf\xa3" and _OWN in file.read(_HEADER)
    except OSError:
        return False


def mark_as_coded(path: Path) -> None:
    """Exchange the name of the video codec in a Matroska file that was written with CARRIER's."""
    with path.open("r+b") as file:
        head = file.read(_HEADER)
        place = head.index(_CARRIED)
        file.seek(place)
        file.write(_OWN)


def picture_checksum(codes: Any) -> int:
    """CRC-32 of a decoded picture: its codes as bytes, or as pairs of bytes, the lower one first. An array [3, H, W]"""
    return zlib.crc32(codes.astype(f"<u{codes.dtype.itemsize}").tobytes())


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """-> (the number, where what follows begins). Raises IndexError where the data ends, ValueError beyond 64 bits."""
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
