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
from av.video.stream import VideoStream

from refilm.errors import VideoError
from refilm.video.companions import copied_packets, copy_descriptions, copy_streams, decode_time, own_metadata
from refilm.video.containers import as_file, open_input, translated
from refilm.video.encoder import EncoderSettings, add_video_stream
from refilm.video.picture_sequence import PictureSequence
from refilm.video.video_info import BITSTREAM, VideoInfo


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
        others = iter(()) if original is None else copied_packets(original, copied, warn)
        for packet in _shifted(heapq.merge(packets, others, key=decode_time), _shift(source)):
            output.mux(packet)
            on_packet()
        on_source_read()


@contextmanager
def _begun(
    settings: EncoderSettings, source: VideoInfo, target: Path, format_name: str, warn: Callable[[str], None]
) -> Iterator[tuple[OutputContainer, VideoStream, InputContainer | None, dict[int, Any]]]:
    """The output with its header written, its video stream; the source and what is copied of it, see copy_streams."""
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
            copied = copy_streams(original, output, source, warn)
            copy_descriptions(original, output, format_name, _shift(source), warn)
            video.metadata.update(own_metadata(original.streams[source.video_index].metadata))
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


def _shifted(packets: Iterable[av.Packet], shift: Fraction) -> Iterator[av.Packet]:
    for packet in packets:
        if shift:
            ticks = round(shift / (packet.time_base or 1))
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        yield packet


def _shown_time(packet: av.Packet) -> int:
    return packet.pts or 0
