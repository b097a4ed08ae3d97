"""Reading the file of a learned codec: what it holds, and its coded pictures; decoding them is not done here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Stream

from refilm.errors import VideoError
from refilm.video.bookmark import Bookmark
from refilm.video.coded import TAG, CodedStream, Placed, placed
from refilm.video.containers import MAX_PIXELS, open_input
from refilm.video.key_pictures import INTRA, decode_picture
from refilm.video.part import Cut, Part
from refilm.video.video_info import BITSTREAM, VideoInfo, describe_stream, duration_tag

_TICK = Fraction(1, 1000)  # the tick of Matroska's clock
_LOOKED_AT = 16  # packets by which clocks are compared


class CodedPicture(NamedTuple):
    """A picture on its way to the codec. Times are in seconds.

    planes   of a key picture that is AV1 or HEVC, decoded; None: `data` are the codec's own bytes
    """

    time: Fraction
    duration: Fraction
    is_key: bool
    checksum: int | None
    data: bytes
    planes: tuple[np.ndarray, ...] | None


class PictureDecoder(Protocol):
    """Decodes the pictures of a file, in their order from a key picture on."""

    def planes(self, coded: CodedPicture) -> tuple[tuple[np.ndarray, ...], bool]:
        """-> (the planes of the picture, whether it has the checksum that was noted)"""
        ...


DecoderOf = Callable[[CodedStream, Path], PictureDecoder]
_decoders: list[DecoderOf] = []


def decode_by(make: DecoderOf) -> None:
    """Say who decodes what learned codecs have made. Codecs are models, which this package does not know."""
    _decoders[:] = [make]


def decoder_of(stream: CodedStream, path: Path) -> PictureDecoder:
    """A decoder for the pictures of a file. Raises VideoError or WeightsError if its codec is not here."""
    if not _decoders:
        raise VideoError(f"{path}: its pictures are decoded by a model; open it by refilm.open, not refilm.video")
    return _decoders[0](stream, path)


@dataclass(frozen=True)
class _Found:
    """A picture that can be decoded, and how many before it, since the last such one, cannot."""

    placed: Placed
    lost: int


class CodedFile:
    """The coded pictures of a file, in order, from any key picture on.

    What is damaged is found by checksums: it goes on with the next key picture. Raises VideoError for a file of which
    no picture can be decoded.

    on_packet   called for each packet, as a sign of life
    part        the pictures that are wanted; None: all. Those before it, from a key picture on, are given as well
    """

    def __init__(self, path: Path, on_packet: Callable[[], None], part: Part | None = None) -> None:
        self.path, self._on_packet = path, on_packet
        self._context = open_input(path)
        self._container: InputContainer = self._context.__enter__()
        self._behind = 0  # packets since the last picture that can be decoded
        self._stream = self._main()
        self.stream = CodedStream.from_json(self._stream.metadata[TAG], path)
        if self.stream.width * self.stream.height > MAX_PIXELS:
            raise VideoError(f"{path}: declares pictures of more than {MAX_PIXELS} pixels; the file is damaged")
        self._ahead = self._measured_ahead()
        self._reopen()
        first = next(self._found(), None)
        if first is None:
            raise VideoError(f"{path}: is damaged, none of its pictures can be decoded")
        self.info = self._described(self._time(first.placed))
        if part is not None:
            self._cut_to(part)

    def frames(self, start: Bookmark | None) -> Iterator[tuple[CodedPicture, dict[str, float]]]:
        """The pictures from the key picture before `start` on, or before the part; each with what was lost after it."""
        begin = self.info.start_time if start is None else start.time
        end = None if self.info.cut is None else self.info.cut.end
        if start is None and self.info.cut is None:
            self._reopen()
            found = self._found(last=-1)
        else:
            found = self._from_key_before(begin)
        yield from self._given(found, end)

    def near(self, time: Fraction, count: int) -> Iterator[tuple[CodedPicture, dict[str, float]]]:
        """Up to `count` pictures from the last key picture before `time` on, in seconds since the film's first."""
        found = self._from_key_before(self.info.start_time + time)
        yield from itertools.islice(self._given(found, None), count)

    def _given(self, found: Iterator[_Found], end: Fraction | None) -> Iterator[tuple[CodedPicture, dict[str, float]]]:
        held: CodedPicture | None = None
        lost, reached = 0, Fraction(0)
        for each in found:
            lost += each.lost
            if held is not None:
                yield held, {"damaged_packets": lost} if lost else {}
                lost = 0
            picture = self._picture(each.placed)
            reached = picture.time + picture.duration
            if end is not None and picture.time >= end:
                return
            if end is not None:
                longest = max(end - picture.time, 1 / self.info.frame_rate)
                picture = picture._replace(duration=min(picture.duration, longest))
            held = picture
        if held is not None:
            lost += self._behind
            yield held, ({"damaged_packets": lost} if lost else {}) | self._missing(reached)

    def _missing(self, end: Fraction) -> dict[str, float]:
        if self.info.duration is None or self.info.cut is not None:
            return {}
        missing = self.info.start_time + self.info.duration - end
        return {"missing_seconds": float(missing)} if missing > 1 / self.info.frame_rate / 2 else {}

    def _picture(self, at: Placed) -> CodedPicture:
        tick, coded = self.stream.time_base, at.picture
        planes = None
        if intra := INTRA.get(coded.how):
            planes = decode_picture(coded.data, self.stream.format, self.stream.height, self.stream.width, intra)
        data = b"" if planes is not None else coded.data
        return CodedPicture(at.ticks * tick, at.duration * tick, coded.is_key, coded.checksum, data, planes)

    def _found(self, last: int | None = None) -> Iterator[_Found]:
        """The pictures from where the container stands that can be decoded; the first is a key picture.

        last   number of the picture before those, from which on missing ones are counted; None: from the first found
        """
        after: int | None = None  # number of the next picture, if it is to refer to the one before
        self._behind = 0
        for packet in self._packets():
            at = placed(bytes(packet))
            is_next = at is not None and (at.picture.is_key or at.number == after)
            if at is None or not is_next or (at.picture.how in INTRA and not self._decodes(at)):
                after, self._behind = None, self._behind + 1
                continue
            self._behind = 0
            yield _Found(at, at.number - last - 1 if last is not None and at.number > last else 0)
            last, after = at.number, at.number + 1

    def _decodes(self, at: Placed) -> bool:
        try:
            self._picture(at)
        except VideoError:
            return False
        return True

    def _measured_ahead(self) -> Fraction:
        """By how much the container's clock is ahead: where sound begins before 0, Matroska's muxer moves all to 0."""
        found = []
        for packet in itertools.islice(self._packets(), _LOOKED_AT):
            at = placed(bytes(packet))
            if at is not None and packet.pts is not None and packet.time_base is not None:
                found.append(packet.pts * packet.time_base - self._time(at))
        # a damaged one among them does not matter; less than a tick is but rounding
        middle = sorted(found)[len(found) // 2] if found else Fraction(0)
        return middle if abs(middle) >= _TICK else Fraction(0)

    def _packets(self) -> Iterator[av.Packet]:
        try:
            for packet in self._container.demux(self._stream):
                self._on_packet()
                if packet.size:
                    yield packet
        except av.error.FFmpegError:
            return  # what the container's damage hides is missing at the end

    def _from_key_before(self, time: Fraction) -> Iterator[_Found]:
        """From the last key picture that is shown at `time` or before it."""
        # the container has times rounded, by which a key picture at `time` itself may lie on either side of it
        stamp = (time + self._ahead) / _TICK
        for place in (math.floor(stamp) + 1, math.ceil(stamp) - 1):
            try:
                self._container.seek(place, stream=self._stream, backward=True)
            except (av.error.FFmpegError, OSError):
                break
            found = self._found()
            first = next(found, None)
            if first is not None and self._time(first.placed) <= time:
                return itertools.chain([replace(first, lost=0)], found)
        self._reopen()
        return self._found()

    def _cut_to(self, part: Part) -> None:
        film = self.info
        begin = film.start_time + part.begin
        end = None if part.end is None else film.start_time + part.end
        times = (self._time(each.placed) for each in self._from_key_before(begin))
        first = next((time for time in times if time >= begin), None)
        if first is None:
            raise VideoError(f"{self.path}: ends before {float(part.begin):g} s, so there is no such part")
        if end is not None and first >= end:
            raise VideoError(
                f"{self.path}: shows no new frame from {float(part.begin):g} to {float(part.end or 0):g} s"
            )
        film_end = None if film.duration is None else film.start_time + film.duration
        self.info = replace(
            film,
            start_time=first,
            frames=None,
            duration=None if film_end is None else (film_end if end is None else min(end, film_end)) - first,
            cut=Cut(first, end, film.start_time, was_sought=True),
        )

    def _time(self, at: Placed) -> Fraction:
        return at.ticks * self.stream.time_base

    def _reopen(self) -> None:
        self._context.__exit__(None, None, None)
        self._context = open_input(self.path)
        self._container = self._context.__enter__()
        self._stream = self._main()

    def _main(self) -> Stream:
        for stream in self._container.streams:
            if stream.type == "video" and TAG in stream.metadata:
                return stream
        raise VideoError(f"{self.path}: is damaged, or breaks off before it says what its pictures are")

    def _described(self, start: Fraction) -> VideoInfo:
        told, container = self.stream, self._container
        ends = duration_tag(self._stream.metadata)
        return VideoInfo(
            path=self.path,
            container=BITSTREAM,
            codec=told.model,
            width=told.width,
            height=told.height,
            pix_fmt=told.format.name,
            format=told.format,
            tags=told.tags,
            colour=told.colour,
            mastering_display=None,
            content_light=None,
            not_carried=(),
            stereo_mode=None,
            sample_aspect_ratio=told.sample_aspect_ratio,
            rotation=told.rotation,
            display_matrix=told.display_matrix,
            interlaced=False,
            frame_rate=told.frame_rate,
            time_base=told.time_base,
            start_time=start,
            duration=None if ends is None else max(ends - self._ahead - start, Fraction(0)),
            frames=None,
            alpha=False,
            video_index=self._stream.index,
            others=tuple(describe_stream(each) for each in container.streams if each.index != self._stream.index),
            chapters=len(container.chapters()),
            coded=told,
            ahead=self._ahead,
        )
