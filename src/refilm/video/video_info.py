"""What a file holds, as its headers and its first frames say."""

from __future__ import annotations

import io
import itertools
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from refilm.errors import VideoError
from refilm.video.colour import Colour, guess_colour
from refilm.video.pixel_format import PixelFormat, has_alpha, held_format, is_full_range
from refilm.video.tags import ColourTags, ContentLight, MasteringDisplay

# Decoded frames that are looked at before the work: enough for a stream that is interlaced or has captions to show it.
FRAMES_PROBED = 4
# What lies beside the samples in a frame and no encoder here takes; FFmpeg's names.
_NOT_CARRIED = {
    "A53_CC": "closed captions inside the picture stream",
    "DYNAMIC_HDR_PLUS": "dynamic HDR10+ metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "SPHERICAL": "the mark of a 360 degree video",
    "STEREO3D": "the mark of a stereoscopic video",
    "ICC_PROFILE": "an ICC colour profile",
}
# What VideoInfo calls the container of a learned codec, which FFmpeg cannot open and which holds pictures alone.
BITSTREAM = "refilm bitstream"
# Values of FFmpeg's AVFieldOrder that say "interlaced"
_INTERLACED = (2, 3, 4, 5)
_MASTERING, _LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"


@dataclass(frozen=True)
class StreamInfo:
    """A stream beside the main video; it is copied and not decoded."""

    index: int
    kind: str  # "audio", "subtitle", "data", "attachment", "video"
    codec: str  # FFmpeg's name, "unknown" where it has none
    language: str | None = None
    title: str | None = None

    def __str__(self) -> str:
        words = (f"stream {self.index}", self.kind, self.codec, self.language, self.title and f'"{self.title}"')
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class VideoInfo:
    """The main video stream, and what lies beside it.

    frames      as declared by the container; None where it does not say (Matroska): only decoding tells
    duration    seconds as declared, None where unknown
    time_base   seconds a tick of the source's clock; every frame time is a whole number of ticks
    start_time  of the first frame that decodes, seconds on the source's clock
    rotation    degrees counter-clockwise by which players turn the picture
    display_matrix  all that players do to the picture, mirroring too; FFmpeg's nine numbers, None for nothing
    interlaced  the container or the first frames say so
    not_carried what lies in the picture stream beside the samples and is lost when they are encoded again
    """

    path: Path
    container: str
    codec: str
    width: int
    height: int
    pix_fmt: str
    format: PixelFormat
    tags: ColourTags
    colour: Colour
    mastering_display: MasteringDisplay | None
    content_light: ContentLight | None
    not_carried: tuple[str, ...]
    sample_aspect_ratio: Fraction
    rotation: int
    display_matrix: tuple[int, ...] | None
    interlaced: bool
    frame_rate: Fraction
    time_base: Fraction
    start_time: Fraction
    duration: Fraction | None
    frames: int | None
    alpha: bool
    video_index: int
    others: tuple[StreamInfo, ...]
    chapters: int


def main_video(container: InputContainer, path: Path) -> VideoStream:
    """The stream a player would show: the default one, else the first that is not a cover picture."""
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        counts = ", ".join(
            f"{len(list(streams))} {kind}"
            for kind, streams in itertools.groupby(sorted(s.type or "unknown" for s in container.streams))
        )
        raise VideoError(f"{path}: no video stream ({counts or 'no stream at all'} found)")
    stream = next((stream for stream in moving if stream.disposition & Disposition.default), moving[0])
    if stream.codec_context is None:
        raise VideoError(f"{path}: this FFmpeg has no decoder for the codec of its video stream")
    return stream


def describe(container: InputContainer, stream: VideoStream, frames: Sequence[VideoFrame], path: Path) -> VideoInfo:
    """VideoInfo of an open container; `frames` are the first decoded ones, which know what headers leave out."""
    codec, frame = stream.codec_context, frames[0]
    # PyAV types it as a mapping, but it iterates over its values
    side_data = (data for picture in frames for data in cast(Iterable[SideData], picture.side_data))
    beside = {data.type.name: bytes(data) for data in side_data}
    tags = ColourTags(
        int(frame.colorspace),
        int(frame.color_range),
        int(frame.color_primaries),
        int(frame.color_trc),
        _chroma_location(stream),
    )
    held = held_format(frame.format.name)
    full = is_full_range(frame.format.name)
    colour = guess_colour(frame.width, frame.height, held.kind, tags.named(), yuvj=full)
    frame_rate = stream.guessed_rate or stream.average_rate or Fraction(25)
    time_base = stream.time_base or Fraction(1, av.time_base)
    if full:
        tags = replace(tags, range=2)
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=codec.name,
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        format=held,
        tags=tags,
        colour=colour,
        mastering_display=MasteringDisplay.read(beside[_MASTERING]) if _MASTERING in beside else None,
        content_light=ContentLight.read(beside[_LIGHT]) if _LIGHT in beside else None,
        not_carried=tuple(words for name, words in _NOT_CARRIED.items() if name in beside),
        sample_aspect_ratio=stream.sample_aspect_ratio or codec.sample_aspect_ratio or Fraction(1),
        rotation=frame.rotation,
        display_matrix=struct.unpack("=9i", beside["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in beside else None,
        interlaced=codec.field_order in _INTERLACED or any(picture.interlaced_frame for picture in frames),
        frame_rate=Fraction(frame_rate),
        time_base=time_base,
        start_time=(frame.pts or 0) * (frame.time_base or time_base),
        duration=_declared_duration(container, stream),
        frames=stream.frames or None,
        alpha=has_alpha(frame.format.name),
        video_index=stream.index,
        others=tuple(describe_stream(other) for other in container.streams if other.index != stream.index),
        chapters=len(container.chapters()),
    )


def _declared_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration is not None and stream.time_base is not None:
        return stream.duration * stream.time_base
    # Matroska writes "00:01:02.500000000" here; nothing else is taken for a duration
    if found := re.fullmatch(r"(\d{2,}):(\d\d):(\d\d(?:\.\d{1,9})?)", stream.metadata.get("DURATION", ""), re.ASCII):
        return 3600 * int(found[1]) + 60 * int(found[2]) + Fraction(found[3])
    return Fraction(container.duration, av.time_base) if container.duration is not None else None


def _chroma_location(stream: VideoStream) -> int:
    """FFmpeg's number for where chroma sits, 0 if unknown.

    PyAV does not show it, but Matroska's muxer writes it into the header of a copy.
    """
    header = io.BytesIO()
    try:
        copy = av.open(header, "w", format="matroska")
        copy.add_stream_from_template(stream, opaque=True)
        copy.start_encoding()
    except (ValueError, av.error.FFmpegError):
        return 0  # Matroska does not hold this codec
    # ChromaSitingHorz and ChromaSitingVert: 1 co-sited with luma, 2 half-way between
    found = re.search(rb"\x55\xb7\x81([\x01\x02])\x55\xb8\x81([\x01\x02])", header.getvalue())
    return 0 if found is None else {(1, 2): 1, (2, 2): 2, (1, 1): 3, (2, 1): 4}[found[1][0], found[2][0]]


def describe_stream(stream: av.stream.Stream) -> StreamInfo:
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
    return StreamInfo(
        stream.index, stream.type or "unknown", codec, stream.metadata.get("language"), stream.metadata.get("title")
    )
