"""The format of a file with the bitstream of a learned codec.

    file      MAGIC, a record that describes the video, and one record for each picture
    record    length of a JSON object (4 bytes, big-endian), the object, and as many bytes as its field "bytes" says

The record of a picture has its exact time and duration, whether decoding can begin with it (a key picture), and the
CRC-32 of its bytes. Each segment of a job begins with a key picture. Sound, subtitles and the like are left out, with a
warning.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"refilm bitstream 1\n"
_LENGTH = struct.Struct(">I")
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
    """The bytes of one record."""
    head = json.dumps(description | {"bytes": len(data)}).encode()
    return _LENGTH.pack(len(head)) + head + data


def records(file: BinaryIO) -> Iterator[tuple[dict[str, Any], int]]:
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
