"""What a picture file holds beside its samples: EXIF, which says how to turn the picture, and an ICC colour profile.

FFmpeg's encoders of pictures write neither, so both are taken from the source's bytes and put into those of the result.
EXIF is kept as it is: the samples are not turned, so what it says of turning stays true.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST_SEGMENT = 65533  # bytes of a JPEG segment's content
_ICC_PART = 65519
_MOST = 1 << 24  # bytes of a colour profile; damaged files may claim to hold any number
# TIFF's tags
_ORIENTATION, _PROFILE = 274, 34675
# Chunks that say something else about the colours than the profile
_OTHER_COLOURS = (b"sRGB", b"cICP", b"gAMA", b"cHRM", b"iCCP")


@dataclass(frozen=True)
class PictureMarks:
    """exif: a TIFF structure, as in all formats; icc: a colour profile. b"" for none."""

    exif: bytes = b""
    icc: bytes = b""

    @property
    def turns(self) -> bool:
        """Whether EXIF asks viewers to turn or mirror the picture."""
        return _tiff_value(self.exif, _ORIENTATION) not in (None, 1)


def read_marks(content: bytes) -> PictureMarks:
    """The marks in the bytes of a JPEG, PNG, WebP or TIFF file. What is damaged counts as missing."""
    try:
        if content.startswith(b"\xff\xd8"):
            return _from_jpeg(content)
        if content.startswith(_PNG):
            chunks = dict(reversed(list(_png_chunks(content))))
            profile = chunks.get(b"iCCP", b"")
            icc = zlib.decompressobj().decompress(profile[profile.index(0) + 2 :], _MOST) if profile else b""
            return PictureMarks(chunks.get(b"eXIf", b""), icc)
        if content[8:12] == b"WEBP":
            chunks = dict(_riff_chunks(content))
            return PictureMarks(chunks.get(b"EXIF", b"").removeprefix(_EXIF), chunks.get(b"ICCP", b""))
        if content[:4] in (b"II*\0", b"MM\0*"):
            turned, found = _tiff_value(content, _ORIENTATION), _tiff_value(content, _PROFILE)
            exif = b"" if turned in (None, 1) else struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 274, 3, 1, turned, 0, 0)
            return PictureMarks(exif, found if isinstance(found, bytes) else b"")
    except (struct.error, ValueError, IndexError, zlib.error):
        pass
    return PictureMarks()


def with_marks(content: bytes, marks: PictureMarks) -> tuple[bytes, list[str]]:
    """A PNG or JPEG file with these marks. -> (its bytes, what could not be put into them, in words)"""
    exif, icc, lost = marks.exif, marks.icc, list[str]()
    if content.startswith(_PNG):
        first, *rest = _png_chunks(content)
        kept = [chunk for chunk in rest if not icc or chunk[0] not in _OTHER_COLOURS]
        added = [(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))] if icc else []
        added += [(b"eXIf", exif)] if exif else []
        return _PNG + b"".join(map(_png_chunk, [first, *added, *kept])), lost
    if not content.startswith(b"\xff\xd8"):
        lost = ["how viewers turn it (EXIF)"] if marks.turns else []
        return content, lost + (["its ICC colour profile"] if icc else [])
    if len(exif) > _LARGEST_SEGMENT - len(_EXIF):
        exif, lost = b"", ["EXIF, which is too long for JPEG"]
    parts = [icc[start : start + _ICC_PART] for start in range(0, len(icc), _ICC_PART)]
    segments = [(0xE1, _EXIF + exif)] if exif else []
    segments += [(0xE2, _ICC + bytes([number, len(parts)]) + part) for number, part in enumerate(parts, 1)]
    added_bytes = b"".join(struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data for kind, data in segments)
    # JFIF's own segment comes first
    start = 4 + struct.unpack_from(">H", content, 4)[0] if content[3] == 0xE0 else 2
    return content[:start] + added_bytes + content[start:], lost


def _from_jpeg(content: bytes) -> PictureMarks:
    exif, parts, place = b"", {}, 2
    while content[place] == 0xFF and content[place + 1] != 0xDA:  # up to the samples
        kind, length = struct.unpack_from(">xBH", content, place)
        data = content[place + 4 : place + 2 + length]
        if kind == 0xE1 and data.startswith(_EXIF):
            exif = exif or data.removeprefix(_EXIF)
        elif kind == 0xE2 and data.startswith(_ICC):
            parts[data[len(_ICC)]] = data[len(_ICC) + 2 :]
        place += 2 + length
    return PictureMarks(exif, b"".join(parts[number] for number in sorted(parts)))


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        yield kind, content[place + 8 : place + 8 + length]
        place += 12 + length


def _png_chunk(chunk: tuple[bytes, bytes]) -> bytes:
    kind, data = chunk
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, place)
        yield kind, content[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _tiff_value(content: bytes, wanted: int) -> int | bytes | None:
    """The value of a tag in the first directory: a number if it is one short, else its bytes; None without it."""
    try:
        order = {b"II": "<", b"MM": ">"}[content[:2]]
        (place,) = struct.unpack_from(order + "I", content, 4)
        (count,) = struct.unpack_from(order + "H", content, place)
        for entry in range(count):
            tag, kind, length, value = struct.unpack_from(order + "HHII", content, place + 2 + 12 * entry)
            if tag == wanted and kind == 3 and length == 1:
                return int(struct.unpack_from(order + "H", content, place + 2 + 12 * entry + 8)[0])
            if tag == wanted and 4 < length <= _MOST:
                return content[value : value + length]
    except (KeyError, struct.error):
        pass
    return None
