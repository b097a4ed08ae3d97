"""What a file holds, as its headers and its first frames say."""

from __future__ import annotations

import io
import itertools
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.codec.codec import Codec, UnknownCodecError
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from refilm.errors import VideoError
from refilm.video.coded import CodedStream
from refilm.video.colour import Colour, guess_colour
from refilm.video.marks import beside_samples, has_alpha_beside, movie_box, not_carried, stereo_mode
from refilm.video.part import Cut
from refilm.video.picture_marks import read_marks
from refilm.video.picture_sequence import PictureSequence
from refilm.video.pixel_format import PixelFormat, has_alpha, held_format, is_full_range
from refilm.video.tags import ColourTags, ContentLight, MasteringDisplay

# Decoded frames that are looked at before the work: enough for a stream that is interlaced or has captions to show it.
FRAMES_PROBED = 4
# What VideoInfo calls the file of a learned codec, whose pictures FFmpeg cannot decode.
BITSTREAM = "refilm bitstream"
# Values of FFmpeg's AVFieldOrder that say "interlaced"
_INTERLACED = (2, 3, 4, 5)
_PACKED_ALPHA = ("rgba", "bgra", "argb", "abgr")
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
    has_times   the format stores the times of frames; if not, they follow each other at `frame_rate` from 0 on
    not_carried what lies in the picture stream beside the samples and is lost when they are encoded again
    stereo_mode Matroska's name of how the pictures of two eyes share a frame; None for a film for one eye
    alpha       transparency, which is lost
    cut         the part that is read; then `start_time` and `duration` are the part's, and `frames` is None
    coded       of the file of a learned codec, how its pictures are decoded
    ahead       by how much the clock of the other streams is ahead of the pictures', in seconds; 0 elsewhere
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
    stereo_mode: str | None
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
    has_times: bool = True
    cut: Cut | None = None
    coded: CodedStream | None = None
    ahead: Fraction = Fraction(0)

    @property
    def is_picture(self) -> bool:
        """Whether it is the file of a single picture, such as a.png."""
        return self.container.endswith("_pipe")

    @property
    def is_lossless(self) -> bool:
        """Whether its pictures are stored without loss, as PNG and FFV1 do."""
        try:
            codec = Codec(self.codec, "r")
        except UnknownCodecError:
            return False
        return codec.lossless and not codec.lossy

    @property
    def film_start(self) -> Fraction:
        """When the film's first frame is shown, also where a part of it is read; seconds on the source's clock."""
        return self.start_time if self.cut is None else self.cut.film_start


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


def describe(
    container: InputContainer, stream: VideoStream, frames: Sequence[VideoFrame], path: Path, rate: Fraction | None
) -> VideoInfo:
    """VideoInfo of an open container.

    frames   the first decoded ones, which know what headers leave out
    rate     frames a second where the format stores no times; None: as the stream declares
    """
    codec, frame, header = stream.codec_context, frames[0], _matroska_header(stream)
    side_data = (data for picture in frames for data in beside_samples(picture, codec.name))
    beside = {data.type.name: bytes(data) for data in side_data}
    if container.format.name.startswith("image2") or container.format.name.endswith("_pipe"):
        sequence = PictureSequence.of(path)
        if icc := read_marks((sequence.files()[0] if sequence else path).read_bytes()).icc:
            beside["ICC_PROFILE"] = icc
    tags = ColourTags(
        int(frame.colorspace),
        int(frame.color_range),
        int(frame.color_primaries),
        int(frame.color_trc),
        _chroma_location(header),
    )
    held = held_format(frame.format.name)
    full = is_full_range(frame.format.name)
    colour = guess_colour(frame.width, frame.height, held.kind, tags.named(), yuvj=full)
    frame_rate = Fraction(stream.guessed_rate or stream.average_rate or 25)
    time_base = stream.time_base or Fraction(1, av.time_base)
    is_raw = Flags.no_timestamps in Flags(container.format.flags)
    has_times = not is_raw or (rate is None and frame.pts is not None)
    if not has_times:
        frame_rate = rate or frame_rate
        time_base = 1 / frame_rate
    if full:
        tags = replace(tags, range=2)
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=codec.codec.canonical_name,
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        format=held,
        tags=tags,
        colour=colour,
        mastering_display=MasteringDisplay.read(beside[_MASTERING]) if _MASTERING in beside else None,
        content_light=ContentLight.read(beside[_LIGHT]) if _LIGHT in beside else None,
        not_carried=not_carried(
            beside,
            header,
            codec.extradata or b"" if codec.name == "hevc" else b"",
            movie_box(path) if "mov" in container.format.name and path.is_file() else b"",
        ),
        stereo_mode=stereo_mode(stream.metadata, beside),
        sample_aspect_ratio=stream.sample_aspect_ratio or codec.sample_aspect_ratio or Fraction(1),
        rotation=frame.rotation,
        display_matrix=struct.unpack("=9i", beside["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in beside else None,
        interlaced=codec.field_order in _INTERLACED or any(picture.interlaced_frame for picture in frames),
        frame_rate=frame_rate,
        time_base=time_base,
        start_time=(frame.pts or 0) * (frame.time_base or time_base),
        # without times, it is guessed from the size of the file
        duration=_declared_duration(container, stream) if has_times else None,
        frames=stream.frames or None,
        alpha=(has_alpha(frame.format.name) and not _are_opaque(frames)) or has_alpha_beside(stream.metadata),
        video_index=stream.index,
        others=tuple(describe_stream(other) for other in container.streams if other.index != stream.index),
        chapters=len(container.chapters()),
        has_times=has_times,
    )


def _are_opaque(frames: Sequence[VideoFrame]) -> bool:
    """Whether no pixel of these pictures is transparent, as in most GIFs, which FFmpeg gives with an alpha channel."""
    if any(frame.format.name not in _PACKED_ALPHA for frame in frames):
        return False
    return all((frame.to_ndarray(format="rgba")[..., 3] == 255).all() for frame in frames)


def _declared_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration and stream.time_base is not None:  # of a pipe, some formats say 0
        return stream.duration * stream.time_base
    if (tagged := duration_tag(stream.metadata)) is not None:
        return tagged
    return Fraction(container.duration, av.time_base) if container.duration is not None else None


def duration_tag(metadata: Mapping[str, str]) -> Fraction | None:
    """When a stream ends in seconds, as Matroska writes it, such as "00:01:02.500000000"; None for anything else."""
    found = re.fullmatch(r"(\d{2,}):(\d\d):(\d\d(?:\.\d{1,9})?)", metadata.get("DURATION", ""), re.ASCII)
    return None if found is None else 3600 * int(found[1]) + 60 * int(found[2]) + Fraction(found[3])


def _matroska_header(stream: VideoStream) -> bytes:
    """The header of a Matroska file with a copy of the stream. It says what PyAV does not show; b"" for none."""
    header = io.BytesIO()
    try:
        copy = av.open(header, "w", format="matroska")
        copy.add_stream_from_template(stream, opaque=True)
        copy.start_encoding()
    except (ValueError, av.error.FFmpegError):
        return b""  # Matroska does not hold this codec
    return header.getvalue()


def _chroma_location(header: bytes) -> int:
    """FFmpeg's number for where chroma sits, 0 if unknown."""
    # ChromaSitingHorz and ChromaSitingVert: 1 co-sited with luma, 2 half-way between
    found = re.search(rb"\x55\xb7\x81([\x01\x02])\x55\xb8\x81([\x01\x02])", header)
    return 0 if found is None else {(1, 2): 1, (2, 2): 2, (1, 1): 3, (2, 1): 4}[found[1][0], found[2][0]]


def describe_stream(stream: av.stream.Stream) -> StreamInfo:
    codec = stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown"
    told = stream.metadata
    return StreamInfo(
        stream.index,
        stream.type or "unknown",
        codec,
        told.get("language"),
        told.get("title", told.get("filename")),  # attachments have the latter
    )
