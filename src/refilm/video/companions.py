"""What lies beside the main video stream of a source: sound, subtitles, chapters, attachments, metadata.

What the output's container can hold is copied, unless the user asks for sound in another codec, or for none. Sound and
text subtitles that it cannot hold are converted. What is lost then is a decision of the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av
import av.error
from av.codec import Codec
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Disposition, Stream

from refilm.errors import VideoError
from refilm.video.carriers import (
    SOUND_CODECS,
    TEXT_CODECS,
    Carrier,
    ConvertedText,
    Copied,
    EncodedSound,
    asked_encoder,
    is_in,
    is_sound,
    is_text,
)
from refilm.video.coded import TAG
from refilm.video.containers import open_input
from refilm.video.part import Cut
from refilm.video.timecode import KEY
from refilm.video.trial import first_packets, holds, is_accepted
from refilm.video.video_info import StreamInfo, VideoInfo, describe_stream

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
    TAG.lower(),
}
TAKES_CHAPTERS = ("mp4", "mov", "matroska", "webm", "nut")
_TAKES_ATTACHMENTS = ("matroska",)


@dataclass(frozen=True)
class StreamPolicy:
    """What the user wants of sound and subtitles, and agrees to where a container cannot hold a stream as it is.

    copy_only      not to a conversion
    drop_streams   to leaving out what cannot be converted
    audio          "copy"; "none" leaves it out; "aac", "opus", "flac" or "pcm" is what all of it becomes
    subtitles      "copy"; "none" leaves them out
    asked_by       the option that says what becomes of the sound
    elsewhere      whether the output may as well have another container
    """

    copy_only: bool = False
    drop_streams: bool = False
    audio: str = "copy"
    subtitles: str = "copy"
    asked_by: str = "--audio"
    elsewhere: bool = True

    def leaves_out(self, kind: str) -> bool:
        """Whether the user wants no streams of this kind."""
        return {"audio": self.audio, "subtitle": self.subtitles}.get(kind) == "none"


@dataclass(frozen=True)
class Companion:
    """What becomes of a stream of the source beside its main video.

    codec   FFmpeg's name of the encoder that converts it; of lost sound, the one that was asked for
    asked   whether the user asked for the conversion, which the container would not need
    """

    stream: StreamInfo
    fate: Literal["copied", "attached", "made anew", "converted", "lost", "unwanted"]
    codec: str = ""
    asked: bool = False


def fates(source: VideoInfo, format_name: str, policy: StreamPolicy) -> list[Companion]:
    """What becomes of each of the source's other streams in a container, found out by trying."""
    with open_input(source.path) as container:
        others = [stream for stream in container.streams if stream.index != source.video_index]
        packets = first_packets(container, [stream for stream in others if not isinstance(stream, AttachmentStream)])
        return [_fate(stream, packets.get(stream.index, []), source, format_name, policy) for stream in others]


def _fate(
    stream: Stream, packets: Sequence[av.Packet], source: VideoInfo, format_name: str, policy: StreamPolicy
) -> Companion:
    told = describe_stream(stream)
    if policy.leaves_out(stream.type):
        return Companion(told, "unwanted")
    if isinstance(stream, AttachmentStream) or (_is_cover(stream) and format_name in _TAKES_ATTACHMENTS):
        return Companion(told, "attached" if format_name in _TAKES_ATTACHMENTS else "lost")
    if _is_remade(stream, source):
        return Companion(told, "made anew")
    is_asked = is_sound(stream) and policy.audio != "copy"
    if (not is_asked or is_in(policy.audio, stream)) and holds(format_name, stream, packets):
        return Companion(told, "copied")
    if is_asked:
        encoder = asked_encoder(policy.audio, stream)
        is_possible = is_accepted(format_name, partial(_converted, stream, encoder))
        return Companion(told, "converted" if is_possible else "lost", encoder, asked=True)
    codec = (TEXT_CODECS if is_text(stream) else SOUND_CODECS if is_sound(stream) else {}).get(format_name)
    if codec is not None and is_accepted(format_name, partial(_converted, stream, codec)):
        return Companion(told, "converted", codec)
    return Companion(told, "lost")


def _converted(stream: Stream, codec: str, output: OutputContainer) -> Carrier:
    return (EncodedSound if stream.type == "audio" else ConvertedText)(stream, output, codec)


def _is_cover(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def tell_fates(
    companions: Sequence[Companion],
    source: VideoInfo,
    format_name: str,
    policy: StreamPolicy,
    warn: Callable[[str], None],
) -> None:
    """Warn of what is converted and left out. Raises VideoError if the user has not agreed to it."""
    refused = []
    for each in companions:
        codec = Codec(each.codec, "w").canonical_name if each.codec else ""
        if each.fate == "unwanted":
            option = "--audio" if each.stream.kind == "audio" else "--subtitles"
            warn(f"{each.stream} is left out, as {option} none asks")
        elif each.fate == "converted" and each.asked:
            warn(f"{each.stream} is converted to {codec}, as {policy.asked_by} asks")
        elif each.fate == "converted" and policy.copy_only:
            refused.append(f"{each.stream} as it is")
        elif each.fate == "converted":
            warn(f"{each.stream} is converted to {codec}, since {format_name} cannot hold it as it is")
        elif each.fate == "lost" and each.asked:
            refused.append(f"{each.stream} as {codec}, which {policy.asked_by} asks for")
        elif each.fate == "lost" and (policy.drop_streams or each.stream.kind == "data"):
            warn(f"{each.stream} is left out, since {format_name} cannot hold it")
        elif each.fate == "lost":
            refused.append(str(each.stream))
    if source.chapters and format_name not in TAKES_CHAPTERS:
        chapters = f"{source.chapters} chapter{'s' * (source.chapters > 1)}"
        if policy.drop_streams:
            warn(f"{chapters} left out, since {format_name} cannot hold them")
        else:
            refused.append(chapters)
    if refused:
        ways = "; or ".join(_ways_out(companions, source, format_name, policy))
        raise VideoError(f"{format_name} cannot hold {'; '.join(refused)}. Ways out: {ways}")


def _ways_out(
    companions: Sequence[Companion], source: VideoInfo, format_name: str, policy: StreamPolicy
) -> Iterator[str]:
    """What may be done about streams or chapters that are refused."""
    if policy.elsewhere and format_name != "matroska" and _fits_matroska(source, policy):
        yield "write to .mkv, which can"
    is_asked = [each.fate == "lost" and each.asked for each in companions]
    if any(is_asked):
        yield "another --audio, such as copy"
    if source.chapters or not all(is_asked):
        yield "--drop-streams, to leave out what it cannot hold"
    if policy.copy_only and any(each.fate == "converted" for each in companions):
        yield "no --copy-only, to have sound and text subtitles converted"


def _fits_matroska(source: VideoInfo, policy: StreamPolicy) -> bool:
    unwanted = ("lost", "converted") if policy.copy_only else ("lost",)
    return all(each.fate not in unwanted or each.stream.kind == "data" for each in fates(source, "matroska", policy))


def add_streams(
    companions: Sequence[Companion], original: InputContainer, output: OutputContainer
) -> dict[int, Carrier]:
    """Add the streams to the output. -> what carries their packets there, by the index of the source's stream"""
    carriers: dict[int, Carrier] = {}
    for companion in companions:
        stream: Any = original.streams[companion.stream.index]
        if companion.fate == "attached":
            output.add_attachment(*_attachment(stream, Path(original.name.removeprefix("file:"))))
        elif companion.fate in ("copied", "converted"):
            carrier = (
                _converted(stream, companion.codec, output)
                if companion.fate == "converted"
                else Copied(output.add_stream_from_template(stream, opaque=True))
            )
            carrier.stream.metadata.update(own_metadata(stream.metadata))
            carrier.stream.disposition = stream.disposition
            carriers[stream.index] = carrier
    return carriers


def _attachment(stream: Any, path: Path) -> tuple[str, str, bytes]:
    """Its name, MIME type and content."""
    if isinstance(stream, AttachmentStream):
        return stream.name or "attachment", stream.mimetype or "application/octet-stream", stream.data
    codec = stream.codec_context.name
    name = stream.metadata.get("filename", f"cover.{codec}")
    return name, stream.metadata.get("mimetype", f"image/{codec}"), _cover(path, stream.index)


def _cover(path: Path, index: int) -> bytes:
    """The one packet of a cover picture, read apart so as not to disturb the copying of the others."""
    with open_input(path) as container:
        return next((bytes(packet) for packet in container.demux(container.streams[index]) if packet.size), b"")


def _is_remade(stream: Stream, source: VideoInfo) -> bool:
    """Whether this track is QuickTime's chapter titles or its time code, which FFmpeg calls data.

    Muxers make them from the chapters, and from the time code of the main video, which is the same.
    """
    if stream.type != "data" or "mov" not in source.container:
        return False
    handler = stream.metadata.get("handler_name", "").lower()
    titles = source.chapters > 0 and ("text" in handler or "subtitle" in handler)
    video: Any = stream.container.streams[source.video_index]
    # a camera's own track of data may have a time code too
    is_time_code = stream.frames == 1 and stream.metadata.get(KEY) == video.metadata.get(KEY, "")
    return titles or is_time_code


def copy_descriptions(
    original: InputContainer,
    output: OutputContainer,
    format_name: str,
    shift: Fraction,
    cut: Cut | None,
) -> None:
    """Copy metadata and chapters. `shift`: is added to all times, in seconds; `cut`: the part that is worked on."""
    output.metadata.update(own_metadata(original.metadata))
    if (chapters := original.chapters()) and format_name in TAKES_CHAPTERS:
        if cut is not None:
            chapters = [chapter for chapter in chapters if _is_inside(chapter, cut)]
        for chapter in chapters:
            ticks = round(shift / (chapter["time_base"] or 1))
            chapter["start"], chapter["end"] = chapter["start"] + ticks, chapter["end"] + ticks
            chapter["metadata"].setdefault("title", "")  # MP4 would give an untitled chapter the title of the next one
        output.set_chapters(chapters)


def _is_inside(chapter: Any, cut: Cut) -> bool:
    """Whether anything of the chapter lies in the part, to which it is cut."""
    tick = chapter["time_base"] or Fraction(1)
    left = cut.inside(chapter["start"] * tick, chapter["end"] * tick)
    if left is not None:
        chapter["start"], chapter["end"] = (round(each / tick) for each in left)
    return left is not None


def own_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """What describes the film itself, without what the muxer writes anew."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower().split("-")[0] not in _MUXERS_OWN and not key.startswith("_STATISTICS")
    }
