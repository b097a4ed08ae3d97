"""The final file: the pieces' packets in one stream, and everything else of the source carried over unchanged."""

from __future__ import annotations

import heapq
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import add
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from refilm.errors import VideoError
from refilm.video import timecode
from refilm.video.carriers import Carrier, Copied
from refilm.video.coded import CARRIER, packet_of
from refilm.video.companions import (
    Companion,
    StreamPolicy,
    add_streams,
    copy_descriptions,
    fates,
    own_metadata,
    tell_fates,
)
from refilm.video.containers import as_file, open_input, translated
from refilm.video.copying import copied_packets, decode_time, moved
from refilm.video.drift import DriftMeter
from refilm.video.encoder import EncoderSettings, add_video_stream
from refilm.video.encoder_log import refusals_told
from refilm.video.handles import STANDARD_INPUT
from refilm.video.marks import mark
from refilm.video.picture_sequence import PictureSequence
from refilm.video.pixel_shape import write_pixel_shape
from refilm.video.trial import holds_codec
from refilm.video.video_info import VideoInfo

_CANNOT_TURN = ("mpegts", "nut")  # containers that have no place for a display matrix


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
    settings: EncoderSettings,
    policy: StreamPolicy,
    source: VideoInfo,
    target: Path,
    format_name: str,
    warn: Callable[[str], None],
) -> None:
    """Write as far as the header, so that what cannot be written is told before the work and not after it.

    `warn` is told of each stream that is converted or left out. `target` is a throw-away name. Raises as `join`, and
    VideoError if the encoder refuses its settings, or if something would be converted or lost to which the user has not
    agreed (`policy`).
    """
    if not holds_codec(format_name, settings):
        elsewhere = "" if format_name == "matroska" else ", or write to .mkv"
        raise VideoError(f"{format_name} cannot hold {settings.codec}; take another --codec{elsewhere}")
    if source.path == STANDARD_INPUT:
        _tell_unread(source, policy, warn)
    companions = _companions(source, format_name, policy)
    tell_fates(companions, source, format_name, policy, warn)
    with _begun(settings, companions, source, target, format_name, warn):
        pass
    target.unlink()


def join(
    pieces: Sequence[Piece],
    settings: EncoderSettings,
    policy: StreamPolicy,
    source: VideoInfo,
    target: Path,
    format_name: str,
    warn: Callable[[str], None],
    on_packet: Callable[[], None],
    on_source_read: Callable[[], None],
) -> float | None:
    """Write `target` from the pieces and from the source's other streams, chapters, attachments and metadata.

    No packet is encoded again. `warn` is told what of the source could not be copied; `on_packet` is called for each
    packet and `on_source_read` when only the end of the file is left to write, both as signs of life.
    -> how far sound and picture drift, in seconds, see DriftMeter.measure; None if no sound was copied
    Raises VideoError, or OSError when the disk is full; the target is then incomplete.
    """
    companions = _companions(source, format_name, policy)
    with _begun(settings, companions, source, target, format_name, lambda _: None) as (
        output,
        video,
        original,
        carriers,
    ):
        packets = _video_packets(pieces, settings, video)
        if format_name in ("mp4", "mov"):
            packets = _ending_in_time(packets, pieces)
        others: Iterator[av.Packet] = iter(())
        meter = None
        if original is not None:
            sounds = [index for index, carrier in carriers.items() if carrier.stream.type == "audio"]
            copied = [index for index in sounds if isinstance(carriers[index], Copied)]
            meter = DriftMeter(original, source.video_index, copied[0]) if copied else None
            end = max(map(add, pieces[-1].pts, pieces[-1].durations)) * settings.time_base
            cut = None if source.cut is None else replace(source.cut, end=end)
            others = copied_packets(original, carriers, format_name, meter, warn, cut, source.ahead)
        number = 0
        for packet in moved(heapq.merge(packets, others, key=decode_time), shown_from_0(source, original)):
            if settings.codec == CARRIER and packet.stream_index == video.index:
                packet, number = _placed(packet, number, video), number + 1
            output.mux(packet)
            on_packet()
        on_source_read()
    if meter is None:
        return None
    shown = sorted(itertools.chain.from_iterable(piece.pts for piece in pieces))
    return meter.measure(target, sounds.index(copied[0]), shown, settings.time_base, source.start_time, on_packet)


@contextmanager
def _begun(
    settings: EncoderSettings,
    companions: Sequence[Companion],
    source: VideoInfo,
    target: Path,
    format_name: str,
    warn: Callable[[str], None],
) -> Iterator[tuple[OutputContainer, VideoStream, InputContainer | None, dict[int, Carrier]]]:
    """The output with its header written, its video stream; the source and what carries its other streams."""
    options = {"movflags": "+faststart"} if format_name in ("mp4", "mov") else {}
    if settings.codec == CARRIER:
        # no checksum of the description in which the codec's name is exchanged; and the same bytes each time
        options |= {"write_crc32": "0", "fflags": "+bitexact"}
    with ExitStack() as stack:
        stack.enter_context(translated(target, "cannot be written"))
        original = stack.enter_context(open_input(source.path)) if has_streams(source) else None
        if original is not None and options and any("." in key for key in original.metadata):
            options["movflags"] += "+use_metadata_tags"  # QuickTime's own keys, such as a camera's make and place
        output = stack.enter_context(av.open(as_file(target), "w", format=format_name, options=options))
        video = add_video_stream(output, settings)
        video.set_display_matrix(source.display_matrix)
        if source.display_matrix is not None and format_name in _CANNOT_TURN:
            warn(f"{format_name} cannot say how pictures are turned when shown, as the source does; .mkv and .mp4 can")
        video.metadata.update(settings.metadata)
        carriers: dict[int, Carrier] = {}
        if original is not None:
            if (shift := shown_from_0(source, original)) > 0:
                warn(f"the source starts at {-float(shift):.3f} s, which no player shows: all is moved to 0")
            carriers = add_streams(companions, original, output)
            copy_descriptions(original, output, format_name, shift, source.cut)
            video.metadata.update(own_metadata(original.streams[source.video_index].metadata))
            video.disposition = original.streams[source.video_index].disposition
            sounds = (carrier.stream.metadata for carrier in carriers.values() if carrier.stream.type == "audio")
            described = (output.metadata, video.metadata, *sounds)
            mark(video.metadata, source.stereo_mode, settings.codec, format_name, warn)
            before = Fraction(0) if source.cut is None else source.cut.begin - source.cut.film_start
            later = round(before * source.frame_rate)
            timecode.carry(described, source.frame_rate, settings.frame_rate, format_name, warn, later)
        with refusals_told(settings):
            video.codec_context.open(strict=False)
        try:
            output.start_encoding()
        except av.error.FFmpegError as error:
            elsewhere = "" if format_name == "matroska" else "; write to .mkv instead, which holds nearly everything"
            raise VideoError(
                f"the {format_name} container refuses this combination of streams ({error.strerror}){elsewhere}"
            ) from error
        yield output, video, original, carriers
    if format_name in ("matroska", "webm") and settings.sample_aspect_ratio != 1:
        write_pixel_shape(target, settings.width, settings.height, settings.sample_aspect_ratio)


def _companions(source: VideoInfo, format_name: str, policy: StreamPolicy) -> list[Companion]:
    return fates(source, format_name, policy) if has_streams(source) else []


def _tell_unread(source: VideoInfo, policy: StreamPolicy, warn: Callable[[str], None]) -> None:
    """Refuse, or warn of, what lies beside the pictures of a pipe: it has gone by when the output is written."""
    beside = [str(stream) for stream in source.others if not policy.leaves_out(stream.kind)]
    if source.chapters:
        beside.append(f"{source.chapters} chapters")
    if beside and not policy.drop_streams:
        raise VideoError(
            f"standard input has {', '.join(beside)} beside the pictures, which are carried over from files only; name "
            "the file instead of -, or add --drop-streams to leave them out"
        )
    for words in beside:
        warn(f"{words} is left out: it is carried over from files only, not from standard input")


def has_streams(source: VideoInfo) -> bool:
    """Whether it is a file with streams that can be copied; no pipe and no numbered pictures."""
    return source.path != STANDARD_INPUT and PictureSequence.of(source.path) is None


def shown_from_0(source: VideoInfo, original: InputContainer | None) -> Fraction:
    """What is added to all times: a part begins at 0, and no container shows what comes before that."""
    if source.cut is not None:
        return -source.cut.begin
    starts = [source.start_time]
    for stream in original.streams if source.start_time < 0 and original is not None else ():
        if stream.start_time is not None and stream.time_base is not None:
            starts.append(stream.start_time * stream.time_base)
    return max(Fraction(0), -min(starts))


def write_pictures(pieces: Sequence[Piece], folder: Path, sequence: PictureSequence) -> int:
    """The packets of a picture codec, a file each, numbered from 1; returns how many."""
    count = 0
    for count, picture in enumerate(picture_files(pieces), 1):
        (folder / sequence.name(count)).write_bytes(picture)
    return count


def picture_files(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The packets of a picture codec in their order in time; each is the content of a file."""
    for piece in pieces:
        for packet in sorted(_read(piece), key=_shown_time):
            yield bytes(packet)


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


def _placed(packet: av.Packet, number: int, stream: Any) -> av.Packet:
    """A packet of a learned codec, with its number and its exact time, which is finer than Matroska's clock."""
    out = av.Packet(packet_of(number, packet.pts or 0, packet.duration or 0, bytes(packet)))
    out.pts, out.dts, out.duration, out.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    out.is_keyframe, out.stream = packet.is_keyframe, stream
    return out


def _reordering(pts: Sequence[int]) -> int:
    """How many packets a frame is decoded ahead of its turn to be shown, at most."""
    rank = {value: place for place, value in enumerate(sorted(pts))}
    return max((place - rank[value] for place, value in enumerate(pts)), default=0)


def _shown_time(packet: av.Packet) -> int:
    return packet.pts or 0
