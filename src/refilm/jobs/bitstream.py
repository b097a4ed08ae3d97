"""The bitstream of a learned codec as a file: its format.

    file      MAGIC, a record that describes the video, and one record for each picture
    record    four bytes that mark it, length and CRC-32 of a JSON object (4 bytes each, big-endian), the object, and as
              many bytes as its field "bytes" says

The record of a picture has its exact time and duration, whether decoding can begin with it (a key picture), and the
CRC-32 of its bytes. Each segment of a job begins with a key picture, so damage ends with the next one: the marks tell
where records begin, and the record of the video tells when the last picture ends. Sound, subtitles and the like are
left out, with a warning.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"refilm bitstream 1\n"
_MARK = b"\xf5rec"
_HEAD = struct.Struct(">4sII")  # of a record: the mark, length and CRC-32 of the object
_LONGEST = 1 << 20  # bytes of the JSON object in a record, at most; more means that the file is damaged


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


def is_bitstream(path: Path) -> bool:
    """Whether `path` is a file that begins with MAGIC."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def record(description: dict[str, Any], data: bytes = b"") -> bytes:
    """Encode one record."""
    text = json.dumps(description | {"bytes": len(data)}).encode()
    return _HEAD.pack(_MARK, len(text), zlib.crc32(text)) + text + data


def records(file: BinaryIO) -> Iterator[tuple[dict[str, Any], int] | None]:
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
