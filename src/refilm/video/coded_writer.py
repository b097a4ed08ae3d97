"""Writing a film into a file at once, by one of FFmpeg's encoders or as a learned codec has coded it, to measure it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from refilm.video.coded import CARRIER, TAG, CodedStream, mark_as_coded, packet_of
from refilm.video.containers import as_file
from refilm.video.encoder import EncoderSettings, add_video_stream, repeatable
from refilm.video.frame import Frame
from refilm.video.piece_writer import Coded
from refilm.video.pixel_format import YUV420P
from refilm.video.planes import picture_of


def write_encoded(
    path: Path, frames: Sequence[Frame], encoder: str, options: Mapping[str, str], rate: Fraction
) -> None:
    """Write frames in yuv420p to a Matroska file by one of FFmpeg's encoders, with its options."""
    with av.open(as_file(path), "w", format="matroska") as output:
        stream: Any = output.add_stream(encoder, rate=rate, options=repeatable(encoder, dict(options)))
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, YUV420P.name
        stream.time_base = stream.codec_context.time_base = 1 / rate
        for number, frame in enumerate(frames):
            picture = picture_of(frame.planes, frame.format)
            picture.pts, picture.time_base = number, 1 / rate
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def write_coded(path: Path, stream: CodedStream, pictures: Iterable[Coded]) -> None:
    """Write what a learned codec has made to a file of its own, without sound."""
    settings = EncoderSettings(
        codec=CARRIER,
        format=YUV420P.name,
        width=stream.width,
        height=stream.height,
        time_base=stream.time_base,
        frame_rate=stream.frame_rate,
        sample_aspect_ratio=stream.sample_aspect_ratio,
        tags=stream.tags,
        threads=1,
    )
    options = {"write_crc32": "0", "fflags": "+bitexact"}
    with av.open(as_file(path), "w", format="matroska", options=options) as output:
        video = add_video_stream(output, settings)
        video.metadata[TAG] = stream.to_json()
        output.start_encoding()
        for number, coded in enumerate(pictures):
            ticks, duration = round(coded.time / stream.time_base), round(coded.duration / stream.time_base)
            packet = av.Packet(packet_of(number, ticks, duration, coded.data))
            packet.pts = packet.dts = ticks
            packet.duration, packet.time_base = duration, stream.time_base
            packet.is_keyframe, packet.stream = coded.is_key, video
            output.mux(packet)
    mark_as_coded(path)
