"""From a file to frames with exact times."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from refilm.errors import VideoError
from refilm.video.bookmark import Bookmark
from refilm.video.clock import Clock
from refilm.video.containers import MAX_PIXELS, open_input
from refilm.video.frame import Frame
from refilm.video.frame_times import FrameTimes, Origin, Timed, are_wrong, shown_stamp
from refilm.video.marks import begun_later
from refilm.video.part import Cut, Part
from refilm.video.planes import planes_of
from refilm.video.read_losses import ReadLosses
from refilm.video.video_info import FRAMES_PROBED, VideoInfo, describe, main_video

# Seconds before a place from which it is sought: some containers find the next key frame instead of the one before.
_SOUGHT_BEFORE = (0, 2, 12)
# Containers with an index and one clock for the whole file, in which seeking can be relied on.
_HAVE_INDEX = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
# Seconds of a film that are decoded rather than sought over.
_NOT_SOUGHT = 5

# A frame, and what was lost between it and the next one.
Given = tuple[Frame, dict[str, float]]


class Decoder:
    """Frames of a file's main video stream, in order of presentation. Memory does not grow with length.

    It runs in the caller's process: untrusted files are read through VideoReader, which runs it in another one.

    on_packet   called for each packet of the file, as a sign of life
    part        the frames that are wanted; None: all. VideoError if there is none in it
    handle      of an open file or pipe that is read instead of `path`; a pipe can be read once, from its beginning
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction | None,
        on_packet: Callable[[], None],
        part: Part | None = None,
        handle: int | None = None,
    ) -> None:
        self.path, self.losses = path, ReadLosses()
        self._handle, self._rate, self._on_packet = handle, rate, on_packet
        self._waiting: dict[int, int] = {}  # see FrameTimes.of
        self._damaged = 0  # packets so far
        self._damaged_before: deque[int] = deque()  # each picture that was decoded and is not yet given on
        self._refusal = ""  # the decoder's latest error, for the message if no frame can be decoded at all
        self._container_context = open_input(self.path, rate, handle)
        self._container: InputContainer = self._container_context.__enter__()
        self._stream = self._prepare()
        pictures = self._decode()
        first = list(itertools.islice(pictures, FRAMES_PROBED))
        if not first:
            raise VideoError(f"{self.path}: no frame of its video stream can be decoded{self._refusal}")
        info = describe(self._container, self._stream, first, self.path, rate)
        self._times = FrameTimes(
            info.time_base,
            max(1, round(1 / info.frame_rate / info.time_base)),
            counts=not info.has_times,
            in_order=info.container == "avi" or are_wrong(first),
        )
        self._timed = self._times.of(itertools.chain(first, pictures), self._waiting)
        opening = next(self._timed)
        self._timed = itertools.chain([opening], self._timed)
        self.info: VideoInfo = replace(info, start_time=opening.ticks * info.time_base)
        self._opened = self._whole()
        if part is not None:
            self._cut_to(part)

    def frames(self, start: Bookmark | None) -> Iterator[tuple[Frame, dict[str, float]]]:
        """Each frame, and what was lost between it and the next one; from `start` on, or all.

        A bookmark is found by seeking if that gives the same picture, else by decoding up to it.
        """
        return self._within(self._opened if start is None else self._from(start))

    def near(self, time: Fraction, count: int) -> Iterator[Given]:
        """Up to `count` frames from the last key frame before `time` on, in seconds since the film's first frame.

        To look at, not to work on: times and places are not checked, and where seeking fails there are no frames.
        """
        try:
            ticks = math.floor((self.info.start_time + time) / self.info.time_base)
            self._container.seek(ticks, stream=self._stream, backward=True)
            self._restart()
            yield from itertools.islice(self._whole(), count)
        except (av.error.FFmpegError, OSError):
            return

    def _whole(self) -> Iterator[Given]:
        """The frames from where the container stands."""
        return self._with_durations(self._frames(self._timed))

    def _within(self, frames: Iterator[Given]) -> Iterator[Given]:
        """The frames up to the end of the part. Its last one is not held for longer than it, but for a usual step."""
        end = None if self.info.cut is None else self.info.cut.end
        if end is None:
            yield from frames
            return
        for frame, lost in itertools.takewhile(lambda given: given[0].time < end, frames):
            longest = max(end - frame.time, 1 / self.info.frame_rate)
            yield replace(frame, duration=min(frame.duration, longest)), lost

    def _cut_to(self, part: Part) -> None:
        """Go to the first frame of the part."""
        film = self.info
        begin = film.start_time + part.begin
        end = None if part.end is None else film.start_time + part.end
        sought = self._sought(begin)
        frames = sought or self._first_from(begin, self._opened)
        if frames is None:
            raise VideoError(f"{self.path}: ends before {float(part.begin):g} s, so there is no such part")
        first, lost = next(frames)
        if end is not None and first.time >= end:
            raise VideoError(
                f"{self.path}: shows no new frame from {float(part.begin):g} to {float(part.end or 0):g} s"
            )
        film_end = None if film.duration is None else film.start_time + film.duration
        self.info = replace(
            film,
            start_time=first.time,
            frames=None,
            duration=None if film_end is None else (film_end if end is None else min(end, film_end)) - first.time,
            cut=Cut(first.time, end, film.start_time, sought is not None),
        )
        self._opened = itertools.chain([(first, lost)], frames)

    def _first_from(self, time: Fraction, frames: Iterator[Given]) -> Iterator[Given] | None:
        """The frames shown at `time` or later; None if there are none."""
        first = next((given for given in frames if given[0].time >= time), None)
        return None if first is None else itertools.chain([first], frames)

    def _sought(self, time: Fraction) -> Iterator[Given] | None:
        """As `_first_from`, by seeking; None where that may not lead to the same frame as decoding from the start.

        It is sought twice, to two key frames. If both lead to the same picture at the same time and place, it is right.
        """
        film = self.info
        if film.container not in _HAVE_INDEX or self._times.in_order or time - film.start_time < _NOT_SOUGHT:
            return None
        before, marks = time, []
        try:
            for _ in range(2):
                self._container.seek(math.floor(before / film.time_base), stream=self._stream, backward=True)
                self._restart()
                frames = self._whole()
                key = next(frames, None)
                if key is None or key[0].time > before:
                    break
                before = key[0].time - film.time_base
                found = self._first_from(time, itertools.chain([key], frames))
                if found is None:
                    break
                first, lost = next(found)
                marks.append(Bookmark.of(first, 0))
                if marks[0].position is not None and marks == 2 * marks[:1]:
                    return itertools.chain([(first, lost)], found)
        except (av.error.FFmpegError, OSError):
            pass  # not seekable: decoding from the start is always right
        self._reopen()
        self._opened = self._whole()
        return None

    def _from(self, bookmark: Bookmark) -> Iterator[Given]:
        for earlier in [] if bookmark.position is None else _SOUGHT_BEFORE:
            try:
                ticks = math.floor((bookmark.time - earlier) / self.info.time_base)
                self._container.seek(ticks, stream=self._stream, backward=True, any_frame=False)
                self._restart()
                for frame, lost in (frames := self._whole()):
                    if frame.time >= bookmark.time:
                        if Bookmark.of(frame, bookmark.index) == bookmark:
                            return itertools.chain([(frame, lost)], frames)
                        break
            except (av.error.FFmpegError, OSError):
                break  # not seekable, or not to this place: decoding from the start is always right
        self._reopen()
        found = self._first_from(self.info.start_time, self._whole())
        return iter(()) if found is None else itertools.islice(found, bookmark.index, None)

    def _reopen(self) -> None:
        """Begin again with the first packet of the file."""
        self._container_context.__exit__(None, None, None)
        self._container_context = open_input(self.path, self._rate, self._handle)
        self._container = self._container_context.__enter__()
        self._stream = self._prepare()
        self._restart()

    def _prepare(self) -> VideoStream:
        stream = main_video(self._container, self.path)
        stream.thread_type = "AUTO"
        codec = stream.codec_context
        if codec.width * codec.height > MAX_PIXELS:
            raise VideoError(
                f"{self.path}: declares pictures of {codec.width}x{codec.height} pixels, and refilm reads at most "
                f"{MAX_PIXELS}; the file is damaged, or has to be scaled down first"
            )
        codec.flags |= Flags.copy_opaque  # for Origin
        codec.options = {"max_pixels": str(MAX_PIXELS)}  # for pictures that grow within the stream
        return stream

    def _restart(self) -> None:
        """Read on from where the container stands, without regard to what was read before."""
        self.losses = ReadLosses()
        self._waiting.clear()
        self._damaged_before.clear()
        self._damaged = 0
        self._timed = self._times.of(self._decode(), self._waiting)

    def _decode(self) -> Iterator[VideoFrame]:
        """Decoded pictures. A damaged packet loses its own frames only, a damaged container all that comes after."""
        packets = self._packets()
        for packet in packets:
            try:
                for picture in self._stream.decode(packet):
                    self._damaged_before.append(self._damaged)
                    yield picture
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                self._damaged += 1
                self._refusal = f": {error.strerror}"

    def _packets(self) -> Iterator[av.Packet | None]:
        number, clock = 0, Clock(self._container)
        try:
            for packet in clock.corrected(self._container.demux()):
                self._on_packet()
                if packet.stream_index != self._stream.index:
                    continue
                stamp = shown_stamp(packet, self._container.format.name)
                if packet.size and stamp is not None and not packet.is_discard:
                    self._waiting[number] = stamp
                position = packet.pos if packet.pos is not None or clock.may_jump else -1
                packet.opaque = Origin(number, None if clock.has_moved(packet) else position, clock.jumps)
                number += 1
                yield packet
        except av.error.FFmpegError:
            self._damaged += 1
            yield None  # empties the decoder: the frames that it still holds are good

    def _frames(self, pictures: Iterator[Timed]) -> Iterator[Frame]:
        """Frames still with the duration that the decoder declared (0 if it did not)."""
        codec = self._stream.codec_context.name
        for picture, ticks, is_rebuilt, can_be_sought in pictures:
            self.losses.damaged_packets = self._damaged_before.popleft()
            position = None
            if isinstance(picture.opaque, Origin):
                self.losses.jumps = max(self.losses.jumps, picture.opaque.jumps)
                position = picture.opaque.position if can_be_sought else None
            self.losses.rebuilt_times += is_rebuilt and (self.info.has_times or self._rate is None)
            if (picture.width, picture.height) != (self.info.width, self.info.height):
                self.losses.resized += 1
            if picture.interlaced_frame and not self.info.interlaced:
                self.losses.interlaced += 1
            self.losses.add(dict.fromkeys(begun_later(picture, codec, self.info.not_carried), 1))
            declared = (picture.duration or 0) * (picture.time_base or self.info.time_base)
            yield Frame(
                _planes(picture, self.info),
                self.info.format,
                self.info.colour,
                ticks * self.info.time_base,
                declared if self.info.has_times else self.info.time_base,
                position=position,
            )
        self.losses.damaged_packets = self._damaged

    def _with_durations(self, frames: Iterator[Frame]) -> Iterator[Given]:
        """A frame lasts until the next one; the last keeps its own declared duration."""
        previous = before = None
        told = ReadLosses()

        def new_losses() -> dict[str, float]:
            nonlocal told
            earlier, told = told, replace(self.losses)
            return told.since(earlier)

        for frame in frames:
            if previous is not None:
                yield replace(previous, duration=frame.time - previous.time), new_losses()
            previous, before = frame, previous
        if previous is not None:
            last = previous.duration
            if last <= 0:
                last = previous.time - before.time if before is not None else 1 / self.info.frame_rate
            previous = replace(previous, duration=last)
            self._note_missing(previous.time + last)
            yield previous, new_losses()

    def _note_missing(self, end: Fraction) -> None:
        if self.info.duration is None:
            return
        missing = self.info.start_time + self.info.duration - end
        # containers round, and some count the sound that outlasts the picture
        if missing > max(Fraction(1, 2), 2 / self.info.frame_rate):
            self.losses.missing_seconds = float(missing)


def _planes(picture: VideoFrame, info: VideoInfo) -> tuple[np.ndarray, ...]:
    held = info.format
    if (picture.width, picture.height) != (info.width, info.height):
        picture = picture.reformat(width=info.width, height=info.height, format=held.name)
    elif picture.format.name not in (held.name, held.name.replace("yuv", "yuvj")):
        # of the same kind and of at least as many bits, so swscale only moves samples and changes no colours
        picture = picture.reformat(format=held.name)
    return planes_of(picture, held)
