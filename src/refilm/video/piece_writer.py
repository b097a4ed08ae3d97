"""From frames to encoded packets, one self-contained piece at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import av.error
from av.codec import Codec
from av.container import OutputContainer
from av.video.frame import VideoFrame

from refilm.errors import VideoError
from refilm.video.colour import guess_colour
from refilm.video.containers import as_file, translated
from refilm.video.encoder import EncoderSettings, add_video_stream
from refilm.video.frame import Frame
from refilm.video.pixel_format import held_format
from refilm.video.planes import picture_of


class Coded(Protocol):
    """What a learned codec makes of a frame. Times are in seconds.

    is_key   whether decoding can begin with it
    data     as `refilm.video.coded.Picture.pack` has it
    """

    @property
    def time(self) -> Fraction: ...

    @property
    def duration(self) -> Fraction: ...

    @property
    def is_key(self) -> bool: ...

    @property
    def data(self) -> bytes: ...


class _Piece:
    """A self-contained file of packets, while it is written: it begins with a key frame and refers to nothing outside.

    `pts` lists the packets' times in ticks of `settings.time_base`, in the order of the file, whose own clock may be
    coarser or shifted; `durations` maps each to its frame's duration.
    """

    def __init__(self, path: Path, settings: EncoderSettings) -> None:
        self.path, self.settings = path, settings
        self.pts: list[int] = []
        self.durations: dict[int, int] = {}
        with translated(path, "cannot be written"):
            self._container = open_piece(path, settings.codec)
            try:
                self._stream = add_video_stream(self._container, settings)
                self._container.start_encoding()
            except BaseException:
                self._container.close()
                raise

    def close(self) -> None:
        """Finish the piece. After an exception call `abort` instead."""
        with translated(self.path, "cannot be written"):
            try:
                self._flush()
            finally:
                self._container.close()

    def abort(self) -> None:
        # the piece is thrown away, and the error that led here is the one to report
        with contextlib.suppress(av.error.FFmpegError, OSError):
            self._container.close()

    def _flush(self) -> None:
        """Write what is held back."""


class PieceWriter(_Piece):
    """Encodes frames into a piece."""

    def write(self, frame: Frame) -> None:
        with translated(self.path, "cannot be written"):
            picture = to_picture(frame, self.settings)
            picture.pts = round(frame.time / self.settings.time_base)
            picture.time_base = self.settings.time_base
            self.durations[picture.pts] = round(frame.duration / self.settings.time_base)
            self._mux(self._stream.encode(picture))

    def _flush(self) -> None:
        self._mux(self._stream.encode(None))

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            if packet.pts is None:
                raise VideoError(f"{self.settings.codec} gave a packet without a time stamp; take another --codec")
            self.pts.append(packet.pts)
            self._container.mux(packet)


class CodedPieceWriter(_Piece):
    """Writes what a learned codec makes of frames into a piece, as packets of CARRIER."""

    def write(self, coded: Coded) -> None:
        tick = self.settings.time_base
        packet = av.Packet(coded.data)
        packet.pts = packet.dts = round(coded.time / tick)
        packet.duration, packet.time_base = round(coded.duration / tick), tick
        packet.is_keyframe, packet.stream = coded.is_key, self._stream
        with translated(self.path, "cannot be written"):
            self.pts.append(packet.pts)
            self.durations[packet.pts] = packet.duration
            self._container.mux(packet)


def open_piece(path: Path, codec: str) -> OutputContainer:
    """NUT holds nearly every codec with its own clock; what it has no tag for (ProRes) goes into QuickTime.

    Matroska is the last resort. Its clock is coarse, which does not matter to a piece.
    """
    for format_name in ("nut", "mov", "matroska"):
        container: OutputContainer = av.open(as_file(path), "w", format=format_name)
        if Codec(codec, "w").canonical_name in container.supported_codecs:
            return container
        container.close()
    raise VideoError(f"FFmpeg has no container for the pieces of a film in {codec}; take another --codec")


def to_picture(frame: Frame, settings: EncoderSettings) -> VideoFrame:
    """The frame in the encoder's pixel format; samples are copied untouched where it is the frame's own."""
    held = held_format(settings.format)
    planes, is_jpeg = frame.planes, settings.format.startswith("yuvj")
    colour = guess_colour(settings.width, settings.height, held.kind, settings.tags.named(), yuvj=is_jpeg)
    # what a file says of its samples is written into the result; JPEG can say nothing, so the samples must fit
    misfits = is_jpeg and any(
        getattr(colour, name) != getattr(frame.colour, name) for name in ("matrix", "range", "chroma_location")
    )
    if held != frame.format or misfits:
        planes = frame.converted(held, colour).planes
    # the same samples by another name, which swscale would stretch
    picture = picture_of(planes, replace(held, name=settings.format) if is_jpeg else held)
    if held.name != settings.format and not is_jpeg:  # the encoder's packed or semi-planar twin of the held format
        picture = picture.reformat(format=settings.format)
    tags = settings.tags  # ProRes's encoder takes them from the picture, others from their parameters
    picture.colorspace, picture.color_range = tags.matrix, tags.range
    picture.color_primaries, picture.color_trc = tags.primaries, tags.transfer
    return picture
