"""What a container can hold, found out by writing a small file in memory and reading it back.

FFmpeg's own lists do not answer this: a muxer may accept a codec and then fail at its first packet, or write it in a
way that no player recognises, such as a private stream in MPEG-TS.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import av
import av.error
from av.codec import Codec
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from refilm.errors import VideoError
from refilm.video.encoder import EncoderSettings, add_video_stream
from refilm.video.encoder_log import refusals_told

# Packets of each stream that are written as a trial. Some muxers recognise what they cannot hold only by its packets.
PACKETS = 16
# Packets of a file that are read to find these. A stream whose first packet comes later is judged by its header alone.
_READ_AT_MOST = 1000
_MPEG_AUDIO = {("audio", "mp1"), ("audio", "mp2"), ("audio", "mp3")}
# Size of the picture that is encoded as a trial: small, since only its packets matter.
_WIDTH, _HEIGHT = 128, 96


def first_packets(container: InputContainer, wanted: Sequence[Stream]) -> dict[int, list[av.Packet]]:
    """The first PACKETS packets of each stream, or fewer, by the index of the stream. Reads on in the container."""
    found: dict[int, list[av.Packet]] = {stream.index: [] for stream in wanted}
    try:
        for count, packet in enumerate(container.demux() if wanted else ()):
            packets = found.get(packet.stream_index)
            if packets is not None and len(packets) < PACKETS and packet.size and packet.dts is not None:
                packets.append(packet)
                if all(len(packets) == PACKETS for packets in found.values()):
                    break
            if count >= _READ_AT_MOST:
                break
    except av.error.FFmpegError:
        pass  # the file is damaged here; what was read until now decides
    return found


def holds(format_name: str, stream: Stream, packets: Sequence[av.Packet]) -> bool:
    """Whether a container holds the packets of a stream so that they are read back as what they are."""

    def write(output: OutputContainer) -> Iterable[av.Packet]:
        copy = output.add_stream_from_template(stream, opaque=True)
        copy.disposition = stream.disposition
        output.start_encoding()
        for packet in packets:
            packet.stream = copy
        return packets

    try:
        found = _read_back(format_name, write)
    except (ValueError, av.error.FFmpegError):
        return False
    if format_name == "mpegts" and {found, _kind(stream)} <= _MPEG_AUDIO:
        return True  # marked alike there; the packets themselves say which of the layers they are
    return not packets or found == _kind(stream)


def is_accepted(format_name: str, add_stream: Callable[[OutputContainer], object]) -> bool:
    """Whether a container accepts the stream that `add_stream` adds to it."""
    try:
        with av.open(io.BytesIO(), "w", format=format_name) as output:
            add_stream(output)
            output.start_encoding()
    except (ValueError, KeyError, av.error.FFmpegError):
        return False
    return True


def holds_codec(format_name: str, settings: EncoderSettings) -> bool:
    """Whether a container holds the packets of a video encoder. Raises VideoError if the encoder makes none."""
    small = replace(settings, width=_WIDTH, height=_HEIGHT, time_base=Fraction(1, 25), frame_rate=Fraction(25))
    try:
        return _holds_encoded(format_name, small)
    except VideoError:  # it may take no pictures as small, or only those of certain sizes and rates
        return _holds_encoded(format_name, settings)


def _holds_encoded(format_name: str, settings: EncoderSettings) -> bool:
    def write(output: OutputContainer) -> Iterable[av.Packet]:
        stream = add_video_stream(output, replace(settings, threads=1))
        with refusals_told(settings):
            stream.codec_context.open(strict=False)
            picture = av.VideoFrame(settings.width, settings.height, settings.format)
            picture.pts, picture.time_base = 0, settings.time_base
            packets = [*stream.encode(picture), *stream.encode(None)]
        output.start_encoding()
        for packet in packets:
            packet.dts = packet.pts  # x265 gives the only packet of a stream no decoding time
        return packets

    try:
        found = _read_back(format_name, write)
    except (ValueError, av.error.FFmpegError):
        return False
    return found == ("video", Codec(settings.codec, "w").canonical_name)


def _read_back(format_name: str, write: Callable[[OutputContainer], Iterable[av.Packet]]) -> tuple[str, str] | None:
    """Type and codec of the first stream of a file to which the packets of `write` were written."""
    file = io.BytesIO()
    with av.open(file, "w", format=format_name) as output:
        for packet in write(output):
            output.mux(packet)
    with av.open(io.BytesIO(file.getvalue()), format=format_name) as container:
        return _kind(container.streams[0]) if len(container.streams) else None


def _kind(stream: Stream) -> tuple[str, str]:
    """FFmpeg's names of its type and its codec; the latter is the same for all implementations of the codec."""
    return stream.type or "", "" if stream.codec_context is None else stream.codec_context.codec.canonical_name
