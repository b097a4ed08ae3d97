"""What a file holds, without decoding more than its first frame."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from refilm.errors import VideoError
from refilm.video.containers import open_input
from refilm.video.formats import has_alpha, held_format, is_full_range
from refilm.video.frame import Colour, PixelFormat
from refilm.video.guess import guess_colour
from refilm.video.tags import ColourTags


@dataclass(frozen=True)
class StreamInfo:
    """One stream that is not the main video: it is carried over, not looked into."""

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
    sample_aspect_ratio: Fraction
    rotation: int
    frame_rate: Fraction
    time_base: Fraction
    start_time: Fraction
    duration: Fraction | None
    frames: int | None
    alpha: bool
    video_index: int
    others: tuple[StreamInfo, ...]
    chapters: int


def probe(path: str | Path, rate: Fraction | None = None) -> VideoInfo:
    """Describe the video file or picture sequence at `path`.

    rate   frames a second of a picture sequence
    Raises VideoError if it cannot be read or has no video stream that decodes.
    """
    path = Path(path)
    with open_input(path, rate) as container:
        stream = main_video(container, path)
        frame = _first_frame(container, stream, path)
        return describe(container, stream, frame, path)


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


def describe(container: InputContainer, stream: VideoStream, frame: VideoFrame, path: Path) -> VideoInfo:
    """VideoInfo of an open container; `frame` is the first decoded one, which knows what headers leave out."""
    codec = stream.codec_context
    tags = ColourTags(int(frame.colorspace), int(frame.color_range), int(frame.color_primaries), int(frame.color_trc))
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
        sample_aspect_ratio=stream.sample_aspect_ratio or codec.sample_aspect_ratio or Fraction(1),
        rotation=frame.rotation,
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
    if tag := stream.metadata.get("DURATION"):  # Matroska's, "00:01:02.500000000"
        hours, minutes, seconds = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    return Fraction(container.duration, av.time_base) if container.duration is not None else None


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    try:
        for frame in container.decode(stream):
            return frame
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: no frame of its video stream can be decoded: {error.strerror}") from error
    raise VideoError(f"{path}: its video stream holds no frame")


def describe_stream(stream: av.stream.Stream) -> StreamInfo:
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
    return StreamInfo(
        stream.index, stream.type or "unknown", codec, stream.metadata.get("language"), stream.metadata.get("title")
    )
