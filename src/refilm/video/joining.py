"""The final file: the pieces' packets in one stream, and everything else of the source carried over unchanged."""

from __future__ import annotations

import heapq
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.codec import Codec
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from refilm.errors import VideoError
from refilm.video.containers import as_file, open_input, translated
from refilm.video.decoder import JUMP
from refilm.video.encoder import EncoderSettings, add_video_stream
from refilm.video.picture_sequence import PictureSequence
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
# What VideoInfo calls the container of a learned codec, which FFmpeg cannot open and which holds pictures alone.
BITSTREAM = "refilm bitstream"


@dataclass(frozen=True)
class Piece:
    """A finished piece of the video stream: its file, and its packets' times and durations in the order of the file.

    Arrays of 64-bit ticks: a film of two hours at 60 frames a second has 7 MB of them.
    """

    path: Path
    pts: array[int]
    durations: array[int]


def output_format(path: Path) -> str:
    """FFmpeg's name of the container that the file name asks for. VideoError if it asks for none that holds video."""
    suffix = path.suffix.lower()
    if suffix == ".avi":
        raise VideoError(f"{path}: AVI has no time stamps, so it cannot hold exact times; write to .mkv or .mp4")
    if suffix in WRITABLE:
        return WRITABLE[suffix]
    raise VideoError(f"{path}: cannot tell the container from the name; take one of {', '.join(sorted(WRITABLE))}")


# Endings of the files that can be written, and FFmpeg's names of their containers.
WRITABLE = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".ts": "mpegts",
    ".m2ts": "mpegts", ".nut": "nut",
}  # fmt: skip


def rehearse(
    settings: EncoderSettings, source: VideoInfo, target: Path, format_name: str, warn: Callable[[str], None]
) -> None:
    """Write as far as the header, so that what cannot be written is told before the work and not after it.

    `warn` is told of each stream that the container cannot hold. `target` is a throw-away name. Raises as `join`.
    """
    with _begun(settings, source, target, format_name, warn):
        pass
    target.unlink()


def join(
    pieces: Sequence[Piece],
    settings: EncoderSettings,
    source: VideoInfo,
    target: Path,
    format_name: str,
    warn: Callable[[str], None],
    on_packet: Callable[[], None],
    on_source_read: Callable[[], None],
) -> None:
    """Write `target` from the pieces and from the source's other streams, chapters, attachments and metadata.

    No packet is encoded again. `warn` is told what of the source could not be copied; `on_packet` is called for each
    packet and `on_source_read` when only the end of the file is left to write, both as signs of life.
    Raises VideoError, or OSError when the disk is full; the target is then incomplete.
    """
    with _begun(settings, source, target, format_name, lambda _: None) as (output, video, original, copied):
        packets = _video_packets(pieces, settings, video)
        if format_name in ("mp4", "mov"):
            packets = _ending_in_time(packets, pieces)
        others = iter(()) if original is None else _copied_packets(original, copied, warn)
        for packet in _shifted(heapq.merge(packets, others, key=_decode_time), _shift(source)):
            output.mux(packet)
            on_packet()
        on_source_read()


@contextmanager
def _begun(
    settings: EncoderSettings, source: VideoInfo, target: Path, format_name: str, warn: Callable[[str], None]
) -> Iterator[tuple[OutputContainer, VideoStream, InputContainer | None, dict[int, Any]]]:
    """The output with its header written, its video stream; the source and what is copied of it, see _copy_streams."""
    options = {"movflags": "+faststart"} if format_name in ("mp4", "mov") else {}
    with ExitStack() as stack:
        stack.enter_context(translated(target, "cannot be written"))
        is_file = source.container != BITSTREAM and PictureSequence.of(source.path) is None
        original = stack.enter_context(open_input(source.path)) if is_file else None
        if original is not None and options and any("." in key for key in original.metadata):
            options["movflags"] += "+use_metadata_tags"  # QuickTime's own keys, such as a camera's make and place
        output = stack.enter_context(av.open(as_file(target), "w", format=format_name, options=options))
        if Codec(settings.codec, "w").canonical_name not in output.supported_codecs:
            raise VideoError(f"{format_name} cannot hold {settings.codec}; take another --codec, or write to .mkv")
        video = add_video_stream(output, settings)
        video.set_display_matrix(source.display_matrix)
        copied: dict[int, Any] = {}
        if original is not None:
            if _shift(source):
                warn(f"the source starts at {float(source.start_time):.3f} s, which no player shows: all is moved to 0")
            copied = _copy_streams(original, output, source, warn)
            _copy_descriptions(original, output, format_name, _shift(source), warn)
            video.metadata.update(_own(original.streams[source.video_index].metadata))
            video.disposition = original.streams[source.video_index].disposition
        try:
            video.codec_context.open(strict=False)
        except av.error.FFmpegError as error:
            chosen = " ".join(f"{key}={value}" for key, value in settings.options.items())
            raise VideoError(f"{settings.codec} refuses its settings ({chosen}): {error.strerror}") from error
        try:
            output.start_encoding()
        except av.error.FFmpegError as error:
            raise VideoError(
                f"the {format_name} container refuses this combination of streams ({error.strerror}); "
                "write to .mkv instead, which holds nearly everything"
            ) from error
        yield output, video, original, copied


def _shift(source: VideoInfo) -> Fraction:
    """What is added to all times: no container shows what comes before 0."""
    return max(Fraction(0), -source.start_time)


def write_pictures(pieces: Sequence[Piece], folder: Path, sequence: PictureSequence) -> int:
    """The packets of a picture codec, a file each, numbered from 1; returns how many."""
    count = 0
    for piece in pieces:
        for packet in sorted(_read(piece), key=_shown_time):
            count += 1
            (folder / sequence.name(count)).write_bytes(bytes(packet))
    return count


def _read(piece: Piece) -> Iterator[av.Packet]:
    """The piece's packets with the times they were encoded with."""
    with open_input(piece.path) as container:
        packets = (packet for packet in container.demux(container.streams.video[0]) if packet.size)
        for packet, pts, duration in zip(packets, piece.pts, piece.durations, strict=True):
            packet.pts, packet.duration = pts, duration
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


def _ending_in_time(packets: Iterator[av.Packet], pieces: Sequence[Piece]) -> Iterator[av.Packet]:
    """QuickTime takes a track's length from the last packet decoded, which need not be the last one shown."""
    first = min(pieces[0].pts)
    end = max(pts + duration for pts, duration in zip(pieces[-1].pts, pieces[-1].durations, strict=True))
    held, begin = None, 0
    for packet in packets:
        if held is None:
            begin = packet.dts or 0
        else:
            yield held
        held = packet
    if held is not None:
        held.duration = end - first - ((held.dts or 0) - begin)
        yield held


def _reordering(pts: Sequence[int]) -> int:
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
    """What describes the film itself, without what the muxer writes anew."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower().split("-")[0] not in _MUXERS_OWN and not key.startswith("_STATISTICS")
    }


def _copied_packets(
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
                reached = max(reached, _decode_time(packet))
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


def _shifted(packets: Iterable[av.Packet], shift: Fraction) -> Iterator[av.Packet]:
    for packet in packets:
        if shift:
            ticks = round(shift / (packet.time_base or 1))
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        yield packet


def _shown_time(packet: av.Packet) -> int:
    return packet.pts or 0


def _decode_time(packet: av.Packet) -> Fraction:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return (ticks or 0) * (packet.time_base or Fraction(1))
