"""Copies what lies beside the main video stream of a source: sound, subtitles, chapters, attachments, metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Disposition, Stream

from refilm.video.containers import open_input
from refilm.video.decoder import JUMP
from refilm.video.video_info import VideoInfo, describe_stream

# What the muxer writes anew; copied, these would describe the source instead.
_MUXERS_OWN = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "number_of_frames",
    "number_of_bytes",
    "bps",
}
# Seconds of sound that may be missing without a word: containers round, and count what encoders add.
_NOT_MISSED = Fraction(1, 2)
_TAKES_CHAPTERS = ("mp4", "mov", "matroska", "webm")
_TAKES_ATTACHMENTS = ("matroska",)


def copy_streams(
    original: InputContainer, output: OutputContainer, source: VideoInfo, warn: Callable[[str], None]
) -> dict[int, Any]:
    """Output streams by the index of the source's; those that the container cannot hold are named and left out."""
    copied: dict[int, Any] = {}
    for stream in original.streams:
        if stream.index == source.video_index:
            continue
        if stream.disposition & Disposition.attached_pic and output.format.name in _TAKES_ATTACHMENTS:
            # Matroska keeps cover pictures among the attachments; FFmpeg shows them as streams
            name = stream.metadata.get("filename", f"cover.{stream.codec_context.name}")
            mime_type = stream.metadata.get("mimetype", f"image/{stream.codec_context.name}")
            output.add_attachment(name, mime_type, _cover(source.path, stream.index))
        elif isinstance(stream, AttachmentStream) and output.format.name in _TAKES_ATTACHMENTS:
            output.add_attachment(
                stream.name or "attachment", stream.mimetype or "application/octet-stream", stream.data
            )
        elif (twin := _twin(stream, output)) is not None:
            twin.metadata.update(own_metadata(stream.metadata))
            twin.disposition = stream.disposition
            copied[stream.index] = twin
        elif not _is_remade(stream, source, output):
            warn(f"{describe_stream(stream)} is left out: {output.format.name} cannot hold it; .mkv holds nearly all")
    return copied


def _cover(path: Path, index: int) -> bytes:
    """The one packet of a cover picture, read apart so as not to disturb the copying of the others."""
    with open_input(path) as container:
        return next((bytes(packet) for packet in container.demux(container.streams[index]) if packet.size), b"")


def _twin(stream: Stream, output: OutputContainer) -> Any | None:
    """A stream of `output` that takes this one's packets; None if the container has no place for the codec."""
    if stream.codec_context is None or stream.codec_context.codec.canonical_name not in output.supported_codecs:
        return None
    try:
        return output.add_stream_from_template(stream, opaque=True)
    except (ValueError, av.error.FFmpegError):
        return None


def _is_remade(stream: Stream, source: VideoInfo, output: OutputContainer) -> bool:
    """Whether the muxer makes this track itself: QuickTime's chapter titles or time code, which FFmpeg calls data."""
    if stream.type != "data" or "mov" not in source.container:
        return False
    handler = stream.metadata.get("handler_name", "").lower()
    titles = source.chapters > 0 and ("text" in handler or "subtitle" in handler)
    return titles or ("timecode" in stream.metadata and output.format.name in ("mp4", "mov"))


def copy_descriptions(
    original: InputContainer,
    output: OutputContainer,
    format_name: str,
    shift: Fraction,
    warn: Callable[[str], None],
) -> None:
    output.metadata.update(own_metadata(original.metadata))
    if chapters := original.chapters():
        if format_name in _TAKES_CHAPTERS:
            for chapter in chapters:
                ticks = round(shift / (chapter["time_base"] or 1))
                chapter["start"], chapter["end"] = chapter["start"] + ticks, chapter["end"] + ticks
            output.set_chapters(chapters)
        else:
            warn(f"{len(chapters)} chapters are left out: {format_name} cannot hold them; .mkv and .mp4 can")


def own_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """What describes the film itself, without what the muxer writes anew."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower().split("-")[0] not in _MUXERS_OWN and not key.startswith("_STATISTICS")
    }


def copied_packets(
    original: InputContainer, copied: dict[int, Any], warn: Callable[[str], None]
) -> Iterator[av.Packet]:
    if not copied:
        return
    reached = Fraction(0)
    pictures = {index for index in copied if original.streams[index].disposition & Disposition.attached_pic}
    clocks = {index: _Clock() for index in copied}
    try:
        for packet in original.demux([original.streams[index] for index in copied]):
            if packet.size and packet.stream_index in pictures:
                packet.pts = packet.dts = 0
            if packet.size and (packet.dts is not None or packet.pts is not None):
                clocks[packet.stream_index].set_right(packet)
                reached = max(reached, decode_time(packet))
                packet.stream = copied[packet.stream_index]
                yield packet
    except av.error.FFmpegError as error:
        kinds = ", ".join(sorted({stream.type for stream in copied.values()}))
        warn(f"the source is damaged at {float(reached):.2f} s ({error.strerror}): its {kinds} end there")
    for index, clock in clocks.items():
        if copied[index].type == "audio" and (missing := clock.missing(original.streams[index])) > _NOT_MISSED:
            warn(f"{describe_stream(original.streams[index])} ends {float(missing):.2f} s before its declared end")


class _Clock:
    """Keeps the decoding times of a copied stream rising, as every container demands. Decoder does so for frames."""

    def __init__(self) -> None:
        self._moved = 0  # ticks by which everything after a jump back is moved up
        self._last: int | None = None
        self._next = 0

    def set_right(self, packet: av.Packet) -> None:
        if packet.dts is None:
            return
        jump = JUMP / (packet.time_base or 1)
        if self._last is not None and packet.dts + self._moved < self._last - jump:
            self._moved = self._next - packet.dts
        packet.dts += self._moved
        packet.pts = None if packet.pts is None else packet.pts + self._moved
        if self._last is not None and packet.dts <= self._last:
            packet.dts = self._last + 1
            packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
        self._last, self._next = packet.dts, packet.dts + (packet.duration or 1)

    def missing(self, stream: Stream) -> Fraction:
        """Seconds that the stream declares beyond its last packet; 0 where its clock was not to be relied on."""
        if self._moved or stream.duration is None or stream.time_base is None:
            return Fraction(0)
        return ((stream.start_time or 0) + stream.duration - self._next) * stream.time_base


def decode_time(packet: av.Packet) -> Fraction:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return (ticks or 0) * (packet.time_base or Fraction(1))
