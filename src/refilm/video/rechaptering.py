"""A copy of a film with chapters of its own: all packets and descriptions as they are, and nothing encoded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.error
from av.container import InputContainer, OutputContainer

from refilm.errors import VideoError
from refilm.video.carriers import Carrier, Copied
from refilm.video.companions import (
    TAKES_CHAPTERS,
    StreamPolicy,
    add_streams,
    fates,
    own_metadata,
    tell_fates,
)
from refilm.video.containers import as_file, open_input, translated
from refilm.video.copying import copied_packets, moved
from refilm.video.joining import has_streams, shown_from_0
from refilm.video.trial import first_packets, holds
from refilm.video.video_info import VideoInfo, describe_stream

_TICK = Fraction(1, 1000)  # that all containers of chapters can tell


class Chapter(NamedTuple):
    """A chapter; `start` and `end` in seconds on the source's clock."""

    start: Fraction
    end: Fraction
    title: str


def rehearse_copy(
    policy: StreamPolicy, source: VideoInfo, target: Path, format_name: str, warn: Callable[[str], None]
) -> None:
    """Write the header of such a copy, so that what cannot be written is told before the work and not after it.

    `target` is a throw-away name. Raises VideoError if the container has no chapters, or cannot hold what the source
    has, unless the user agreed to leave that out (`policy`).
    """
    if format_name not in TAKES_CHAPTERS:
        raise VideoError(f"{format_name} has no chapters; write to .mkv or .mp4")
    if not has_streams(source):
        raise VideoError(f"{source.path}: is no file of streams, and only those can be copied with chapters")
    with open_input(source.path) as container:
        video = container.streams[source.video_index]
        if not holds(format_name, video, first_packets(container, [video])[video.index]):
            elsewhere = "" if format_name == "matroska" else "; write to .mkv"
            raise VideoError(f"{format_name} cannot hold {describe_stream(video)} as it is{elsewhere}")
    whole = _whole(source)
    tell_fates(fates(whole, format_name, policy), replace(whole, chapters=0), format_name, policy, warn)
    if source.chapters:
        warn(f"the labels take the place of the source's {source.chapters} chapters")
    with _begun([], policy, whole, target, format_name, warn):
        pass
    target.unlink()


def copy_with_chapters(
    chapters: Sequence[Chapter],
    policy: StreamPolicy,
    source: VideoInfo,
    target: Path,
    format_name: str,
    warn: Callable[[str], None],
    on_packet: Callable[[], None],
    on_source_read: Callable[[], None],
) -> None:
    """Write `target`: the whole source with these chapters instead of its own.

    Signs of life as for `joining.join`. Raises VideoError, or OSError when the disk is full; the target is then
    incomplete.
    """
    whole = _whole(source)
    with _begun(chapters, policy, whole, target, format_name, lambda _: None) as (output, original, carriers):
        packets = copied_packets(original, carriers, format_name, None, warn)
        for packet in moved(packets, shown_from_0(whole, original)):
            output.mux(packet)
            on_packet()
        on_source_read()


@contextmanager
def _begun(
    chapters: Sequence[Chapter],
    policy: StreamPolicy,
    source: VideoInfo,
    target: Path,
    format_name: str,
    warn: Callable[[str], None],
) -> Iterator[tuple[OutputContainer, InputContainer, dict[int, Carrier]]]:
    """The output with its header written; the source, and what carries its streams."""
    options = {"movflags": "+faststart"} if format_name in ("mp4", "mov") else {}
    with (
        translated(target, "cannot be written"),
        open_input(source.path) as original,
        av.open(as_file(target), "w", format=format_name, options=options) as output,
    ):
        stream: Any = original.streams[source.video_index]
        copy = output.add_stream_from_template(stream, opaque=True)
        copy.metadata.update(own_metadata(stream.metadata))
        copy.disposition = stream.disposition
        carriers = add_streams(fates(source, format_name, policy), original, output)
        carriers[source.video_index] = Copied(copy)
        output.metadata.update(own_metadata(original.metadata))
        shift = shown_from_0(source, original)
        if shift > 0:
            warn(f"the source starts at {-float(shift):.3f} s, which no player shows: all is moved to 0")
        marked = enumerate(_from_0(chapters, source.start_time, -shift))
        output.set_chapters([_written(number, chapter, shift) for number, chapter in marked])
        try:
            output.start_encoding()
        except av.error.FFmpegError as error:
            raise VideoError(
                f"the {format_name} container refuses this combination of streams ({error.strerror})"
            ) from error
        yield output, original, carriers


def _from_0(chapters: Sequence[Chapter], film_start: Fraction, zero: Fraction) -> list[Chapter]:
    """The chapters, of which the first begins at 0, where players of MP4 begin it anyway; one without a title if the
    first does not begin with the film.

    zero   that time, on the source's clock
    """
    if not chapters or chapters[0].start <= zero:
        return list(chapters)
    first, *rest = chapters
    if first.start <= film_start:
        return [first._replace(start=zero), *rest]
    return [Chapter(zero, first.start, ""), *chapters]


def _written(number: int, chapter: Chapter, shift: Fraction) -> Any:
    """The chapter as PyAV takes it."""
    start, end = (round((time + shift) / _TICK) for time in chapter[:2])
    return {"id": number, "start": start, "end": end, "time_base": _TICK, "metadata": {"title": chapter.title}}


def _whole(source: VideoInfo) -> VideoInfo:
    """The source of which a part was read, as a whole."""
    return source if source.cut is None else replace(source, cut=None, start_time=source.cut.film_start)
