"""The shape of pixels in Matroska and WebM, put into files that libavformat has written.

PyAV does not tell muxers what a stream's pixels are shaped like. Those of MP4 and QuickTime read it from the encoder's
parameters; the one of Matroska does not, and FFV1, VP8, VP9, AV1 and ProRes do not say it in their packets either. So
the size at which pictures are shown is put into the description of the track afterwards. It takes its room from the
void that the muxer leaves behind the list of contents, and what lies between is moved there; nothing else is.

Elements of Matroska (EBML, RFC 8794; RFC 9559) are a number, a length and a content, which may be elements again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from refilm.errors import VideoError

_HEADER = 1 << 22  # bytes in which the description of the streams lies
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_CONTENTS, _ENTRY, _ENTRY_PLACE = 0x114D9B74, 0x4DBB, 0x53AC  # SeekHead, Seek, SeekPosition
_VOID, _CRC = 0xEC, 0xBF
_TRACKS, _TRACK, _TRACK_TYPE, _VIDEO = 0x1654AE6B, 0xAE, 0x83, 0xE0
_WIDTH, _HEIGHT, _UNIT = 0x54B0, 0x54BA, 0x54B2  # DisplayWidth, DisplayHeight, DisplayUnit
_IN_PIXELS, _AS_RATIO = 0, 3  # units


class _Element(NamedTuple):
    """Where an element lies: it begins at `start`, its content at `content`, and what follows it at `end`."""

    number: int
    start: int
    content: int
    end: int


def write_pixel_shape(path: Path, width: int, height: int, shape: Fraction) -> None:
    """Say in the first video track of a Matroska file, as libavformat writes it, what shape its pixels have.

    width, height   of the pictures
    shape           width by height of a pixel

    Raises VideoError for a file that is laid out differently.
    """
    with path.open("r+b") as file:
        head = file.read(_HEADER)
        try:
            begin, changed = _changed(head, _shown_size(width, height, shape))
        except (IndexError, ValueError, StopIteration) as error:
            raise VideoError(f"{path}: the shape of its pixels, {shape}, could not be written") from error
        file.seek(begin)
        file.write(changed)


def _shown_size(width: int, height: int, shape: Fraction) -> tuple[int, int, int]:
    """(width, height, unit) exactly: in pixels if both can be whole numbers, with one of them the picture's own."""
    wide, high = width * shape, height / shape
    if wide.denominator == 1:
        return int(wide), height, _IN_PIXELS
    if high.denominator == 1:
        return width, int(high), _IN_PIXELS
    ratio = wide / height
    return ratio.numerator, ratio.denominator, _AS_RATIO


def _changed(head: bytes, shown: tuple[int, int, int]) -> tuple[int, bytes]:
    """-> (where the list of contents begins, the bytes from there to the end of the tracks, which are as many again)"""
    outer = _elements(head, 0, len(head))
    segment = next(element for element in outer if element.number == _SEGMENT)
    inner = list(_elements(head, segment.content, len(head), until=_TRACKS))
    contents, void, tracks = inner[0], inner[1], inner[-1]
    if (contents.number, void.number, tracks.number) != (_CONTENTS, _VOID, _TRACKS):
        raise ValueError("another layout")
    described = _with_shape(head, tracks, shown)
    grown = len(described) - (tracks.end - tracks.start)
    left = void.end - void.content - grown
    if left < 0:
        raise ValueError("no room")
    moved = range(void.end - segment.content, tracks.start - segment.content + 1)

    def placed(element: _Element) -> bytes:
        content = head[element.content : element.end]
        if element.number == _ENTRY:
            return _element(head, element, _replaced(head, element, placed))
        place = int.from_bytes(content, "big")
        if element.number != _ENTRY_PLACE or place not in moved:
            return head[element.start : element.end]
        return _element(head, element, (place - grown).to_bytes(len(content), "big"))

    listed = _element(head, contents, _replaced(head, contents, placed))
    empty = head[void.start : void.start + 1] + _length(left, void.content - void.start - 1) + bytes(left)
    return contents.start, listed + empty + head[void.end : tracks.start] + described


def _with_shape(head: bytes, tracks: _Element, shown: tuple[int, int, int]) -> bytes:
    """The element of the tracks, whose first one of pictures says the size at which they are shown."""
    of_pictures = next(
        track
        for track in _elements(head, tracks.content, tracks.end)
        if track.number == _TRACK
        and any(
            each.number == _TRACK_TYPE and head[each.content : each.end] == b"\1"
            for each in _elements(head, track.content, track.end)
        )
    )
    said = zip((_WIDTH, _HEIGHT, _UNIT), shown, strict=True)
    own = b"".join(_number(number) + _length(4, 1) + value.to_bytes(4, "big") for number, value in said)

    def changed(element: _Element) -> bytes:
        if element == of_pictures:
            return _element(head, element, _replaced(head, element, changed))
        if element.number == _VIDEO:
            others = _elements(head, element.content, element.end)
            kept = [head[each.start : each.end] for each in others if each.number not in (_WIDTH, _HEIGHT, _UNIT)]
            return _element(head, element, b"".join(kept) + own)
        return head[element.start : element.end]

    return _element(head, tracks, _replaced(head, tracks, changed))


def _replaced(head: bytes, parent: _Element, change: Callable[[_Element], bytes]) -> bytes:
    """The content of an element, whose parts are changed one by one; a checksum at its begin is made anew."""
    parts: Iterable[_Element] = list(_elements(head, parent.content, parent.end))
    checked = any(part.number == _CRC for part in parts)
    content = b"".join(change(part) for part in parts if part.number != _CRC)
    return (_number(_CRC) + _length(4, 1) + zlib.crc32(content).to_bytes(4, "little") if checked else b"") + content


def _elements(data: bytes, start: int, end: int, until: int | None = None) -> Iterator[_Element]:
    """One after the other, up to `end`, or to the first one that is numbered `until`, which is given as well."""
    while start < end:
        length = 9 - data[start].bit_length()
        number = int.from_bytes(data[start : start + length], "big")
        at = start + length
        length = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + length], "big") - (1 << 7 * length)
        element = _Element(number, start, at + length, at + length + size)
        yield element
        if number == until:
            return
        start = element.end


def _element(head: bytes, old: _Element, content: bytes) -> bytes:
    """An element of the same number with another content; the length takes as many bytes as before if it can."""
    number = _number(old.number)
    bytes_of_length = old.content - old.start - len(number)
    while len(content) >= (1 << 7 * bytes_of_length) - 1:
        bytes_of_length += 1
    return number + _length(len(content), bytes_of_length) + content


def _number(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _length(length: int, count: int) -> bytes:
    """A length in `count` bytes."""
    return (length | 1 << 7 * count).to_bytes(count, "big")
