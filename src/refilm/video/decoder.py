"""From a file to frames with exact times."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from refilm.errors import VideoError
from refilm.video.bookmark import Bookmark, digest
from refilm.video.containers import MAX_PIXELS, open_input
from refilm.video.frame import Frame
from refilm.video.planes import planes_of
from refilm.video.read_losses import ReadLosses
from refilm.video.video_info import FRAMES_PROBED, VideoInfo, describe, main_video

# Seconds. A time stamp that goes back by more begins a new clock, as where broadcasts are joined; by less, it is wrong.
JUMP = Fraction(1, 2)


class Decoder:
    """Frames of a file's main video stream, in order of presentation. Memory does not grow with length.

    It runs in the caller's process: untrusted files are read through VideoReader, which runs it in another one.

    on_packet   called for each packet of the file, as a sign of life
    """

    def __init__(self, path: Path, rate: Fraction | None, on_packet: Callable[[], None]) -> None:
        self.path, self.losses = path, ReadLosses()
        self._rate, self._on_packet = rate, on_packet
        self._refusal = ""  # the decoder's latest error, for the message if no frame can be decoded at all
        self._container_context = open_input(self.path, rate)
        self._container: InputContainer = self._container_context.__enter__()
        self._stream = self._prepare()
        self._pictures = self._decode()
        first = list(itertools.islice(self._pictures, FRAMES_PROBED))
        if not first:
            raise VideoError(f"{self.path}: no frame of its video stream can be decoded{self._refusal}")
        self.info: VideoInfo = describe(self._container, self._stream, first, self.path)
        self._pictures = itertools.chain(first, self._pictures)

    def frames(self, start: Bookmark | None) -> Iterator[tuple[Frame, dict[str, float]]]:
        """Each frame, and what was lost between it and the next one; from `start` on, or all.

        A bookmark is found by seeking if that gives the same picture, else by decoding up to it.
        """
        return self._all() if start is None else self._from(start)

    def _all(self) -> Iterator[tuple[Frame, dict[str, float]]]:
        return self._with_durations(self._in_order(self._pictures))

    def _from(self, bookmark: Bookmark) -> Iterator[tuple[Frame, dict[str, float]]]:
        try:
            self._container.seek(
                math.floor(bookmark.time / self._time_base), stream=self._stream, backward=True, any_frame=False
            )
            for frame, lost in (frames := self._all()):
                if frame.time >= bookmark.time:
                    if frame.time == bookmark.time and digest(frame) == bookmark.digest:
                        return itertools.chain([(frame, lost)], frames)
                    break
        except (av.error.FFmpegError, OSError):
            pass  # not seekable, or not to this place: decoding from the start is always right
        self._reopen()
        return itertools.islice(self._all(), bookmark.index, None)

    @property
    def _time_base(self) -> Fraction:
        return self._stream.time_base or Fraction(1, av.time_base)

    def _prepare(self) -> VideoStream:
        stream = main_video(self._container, self.path)
        stream.thread_type = "AUTO"
        codec = stream.codec_context
        if codec.width * codec.height > MAX_PIXELS:
            raise VideoError(
                f"{self.path}: declares pictures of {codec.width}x{codec.height} pixels, and refilm reads at most "
                f"{MAX_PIXELS}; the file is damaged, or has to be scaled down first"
            )
        codec.options = {"max_pixels": str(MAX_PIXELS)}  # for pictures that grow within the stream
        return stream

    def _reopen(self) -> None:
        self._container_context.__exit__(None, None, None)
        self._container_context = open_input(self.path, self._rate)
        self._container = self._container_context.__enter__()
        self._stream = self._prepare()
        self.losses = ReadLosses()
        self._pictures = self._decode()

    def _decode(self) -> Iterator[VideoFrame]:
        """Decoded pictures. A damaged packet loses its own frames only, a damaged container all that comes after."""
        packets = self._packets()
        for packet in packets:
            try:
                yield from self._stream.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                self.losses.damaged_packets += 1
                self._refusal = f": {error.strerror}"

    def _packets(self) -> Iterator[av.Packet | None]:
        try:
            for packet in self._container.demux(self._stream):
                self._on_packet()
                yield packet
        except av.error.FFmpegError:
            self.losses.damaged_packets += 1
            yield None  # empties the decoder: the frames that it still holds are good

    def _in_order(self, pictures: Iterator[VideoFrame]) -> Iterator[Frame]:
        """Frames with rising times, still with the duration that the decoder declared (0 if it did not)."""
        time, moved = None, Fraction(0)
        for picture in pictures:
            # raw streams have no time stamps: count on from the frame before, at the stream's rate
            expected = self.info.start_time if time is None else time + 1 / self.info.frame_rate
            time_base = picture.time_base or self._time_base
            picture_time = expected if picture.pts is None else picture.pts * time_base + moved
            if time is not None and picture_time < time - JUMP:
                self.losses.jumps += 1
                moved += expected - picture_time
                picture_time = expected
            if time is not None and picture_time <= time:
                self.losses.out_of_order += 1
                continue
            time = picture_time
            if (picture.width, picture.height) != (self.info.width, self.info.height):
                self.losses.resized += 1
            if picture.interlaced_frame and not self.info.interlaced:
                self.losses.interlaced += 1
            declared = (picture.duration or 0) * time_base
            yield Frame(_planes(picture, self.info), self.info.format, self.info.colour, time, declared)

    def _with_durations(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, dict[str, float]]]:
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
