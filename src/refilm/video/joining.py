"""The final file: the pieces' packets in one stream, and everything else of the source carried over unchanged."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Disposition, Stream

from refilm.errors import VideoError
from refilm.video.containers import is_sequence, open_input, translated
from refilm.video.encoding import EncoderSettings, add_video_stream
from refilm.video.probe import VideoInfo, describe_stream

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
_TAKES_CHAPTERS = ("mp4", "mov", "matroska", "webm")
_TAKES_ATTACHMENTS = ("matroska",)


@dataclass(frozen=True)
class Piece:
    """A finished piece of the video stream: its file, and the times of its packets in the order of the file."""

    path: Path
    pts: list[int]
    durations: dict[int, int]


def output_format(path: Path) -> str:
    """FFmpeg's name of the container that the file name asks for. VideoError if it asks for none that holds video."""
    suffix = path.suffix.lower()
    if suffix == ".avi":
        raise VideoError(f"{path}: AVI has no time stamps, so it cannot hold exact times; write to .mkv or .mp4")
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    raise VideoError(f"{path}: cannot tell the container from the name; take one of {', '.join(sorted(_FORMATS))}")


_FORMATS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".ts": "mpegts",
    ".m2ts": "mpegts", ".nut": "nut",
}  # fmt: skip


def join(
    pieces: Sequence[Piece],
    settings: EncoderSettings,
    source: VideoInfo,
    target: Path,
    format_name: str,
    warn: Callable[[str], None],
) -> None:
    """Write `target` from the pieces and from the source's other streams, chapters, attachments and metadata.

    No packet is encoded again. `warn` is told of each stream that the container cannot hold.
    Raises VideoError, or OSError when the disk is full; the target is then incomplete.
    """
    options = {"movflags": "+faststart"} if format_name in ("mp4", "mov") else {}
    with (
        translated(target, "cannot be written"),
        av.open(str(target), "w", format=format_name, options=options) as output,
    ):
        video = add_video_stream(output, settings)
        if source.rotation:
            video.set_display_rotation(source.rotation)
        if is_sequence(source.path):
            output.start_encoding()
            _mux_all(output, _video_packets(pieces, settings, video))
            return
        with open_input(source.path) as original:
            shift = max(Fraction(0), -_first_shown(pieces) * settings.time_base)
            if shift:
                warn(f"the source starts at {float(-shift):.3f} s, which no player shows: all of it is moved to 0")
            copied = _copy_streams(original, output, source, warn)
            _copy_descriptions(original, output, format_name, shift, warn)
            video.metadata.update(_own(original.streams[source.video_index].metadata))
            video.disposition = original.streams[source.video_index].disposition
            try:
                output.start_encoding()
            except av.error.FFmpegError as error:
                raise VideoError(
                    f"{target}: the {format_name} container refuses this combination of streams ({error.strerror}); "
                    "write to .mkv instead, which holds nearly everything"
                ) from error
            packets = heapq.merge(
                _video_packets(pieces, settings, video), _copied_packets(original, copied), key=_decode_time
            )
            _mux_all(output, _shifted(packets, shift))


def write_pictures(pieces: Sequence[Piece], folder: Path, pattern: str) -> int:
    """The packets of a picture codec, a file each, numbered from 1; returns how many."""
    count = 0
    for piece in pieces:
        for packet in sorted(_read(piece), key=_shown_time):
            count += 1
            (folder / (pattern % count)).write_bytes(bytes(packet))
    return count


def _read(piece: Piece) -> Iterator[av.Packet]:
    """The piece's packets with the times they were encoded with."""
    with open_input(piece.path) as container:
        packets = (packet for packet in container.demux(container.streams.video[0]) if packet.size)
        for packet, pts in zip(packets, piece.pts, strict=True):
            packet.pts, packet.duration = pts, piece.durations[pts]
            yield packet


def _video_packets(pieces: Sequence[Piece], settings: EncoderSettings, stream: Any) -> Iterator[av.Packet]:
    """All packets in decoding order, with decoding times that rise across the joints.

    Each encoder run began its decoding times below its first presentation time, so runs overlap where they meet. The
    n-th decoding time of the whole is instead the n-th presentation time, delayed by the deepest reordering of any
    piece: it rises, and no packet is decoded after it is shown.
    """
    depth = max((_reordering(piece.pts) for piece in pieces), default=0)
    shown = itertools.chain.from_iterable(sorted(piece.pts) for piece in pieces)
    head = list(itertools.islice(shown, 2))
    step = max(head[-1] - head[0], 1) if head else 1
    lead_in = (head[0] - step * n for n in range(depth, 0, -1)) if head else ()
    decoded = itertools.chain(lead_in, head, shown)
    for piece in pieces:
        for packet in _read(piece):
            packet.dts = next(decoded)
            packet.time_base = settings.time_base
            packet.stream = stream
            yield packet


def _reordering(pts: list[int]) -> int:
    """How many packets a frame is decoded ahead of its turn to be shown, at most."""
    rank = {value: place for place, value in enumerate(sorted(pts))}
    return max((place - rank[value] for place, value in enumerate(pts)), default=0)


def _copy_streams(
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
            twin.metadata.update(_own(stream.metadata))
            twin.disposition = stream.disposition
            copied[stream.index] = twin
        elif not _is_chapter_track(stream, source):
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


def _is_chapter_track(stream: Stream, source: VideoInfo) -> bool:
    """QuickTime keeps chapter titles in a text track, which FFmpeg shows as data besides giving the chapters."""
    return stream.type == "data" and source.chapters > 0 and "mov" in source.container


def _copy_descriptions(
    original: InputContainer,
    output: OutputContainer,
    format_name: str,
    shift: Fraction,
    warn: Callable[[str], None],
) -> None:
    output.metadata.update(_own(original.metadata))
    if chapters := original.chapters():
        if format_name in _TAKES_CHAPTERS:
            for chapter in chapters:
                ticks = round(shift / (chapter["time_base"] or 1))
                chapter["start"], chapter["end"] = chapter["start"] + ticks, chapter["end"] + ticks
            output.set_chapters(chapters)
        else:
            warn(f"{len(chapters)} chapters are left out: {format_name} cannot hold them; .mkv and .mp4 can")


def _own(metadata: dict[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in metadata.items()
        if key.lower().split("-")[0] not in _MUXERS_OWN and not key.startswith("_STATISTICS")
    }


def _copied_packets(original: InputContainer, copied: dict[int, Any]) -> Iterator[av.Packet]:
    if not copied:
        return
    try:
        for packet in original.demux([original.streams[index] for index in copied]):
            if packet.size and (packet.dts is not None or packet.pts is not None):
                packet.stream = copied[packet.stream_index]
                yield packet
    except av.error.FFmpegError:
        return  # the source is cut off here, which reading its video has already told


def _first_shown(pieces: Sequence[Piece]) -> int:
    return min(pieces[0].pts)


def _shifted(packets: Iterable[av.Packet], shift: Fraction) -> Iterator[av.Packet]:
    for packet in packets:
        if shift:
            ticks = round(shift / packet.time_base or 1)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        yield packet


def _shown_time(packet: av.Packet) -> int:
    return packet.pts or 0


def _decode_time(packet: av.Packet) -> Fraction:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return (ticks or 0) * (packet.time_base or Fraction(1))


def _mux_all(output: OutputContainer, packets: Iterable[av.Packet]) -> None:
    for packet in packets:
        output.mux(packet)
