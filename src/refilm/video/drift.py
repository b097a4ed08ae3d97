"""How far sound and picture of a written file lie from each other, compared with the source that they come from.

The source's own stamps are compared with those that are read back from the file, so that whatever moved one of the two,
the correction of a clock or a muxer, is found.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import av.error
from av.container import InputContainer

from refilm.errors import VideoError
from refilm.video.containers import open_input
from refilm.video.frame_times import shown_stamp
from refilm.video.video_info import main_video

# How far from a picture a packet of sound may be to be compared with it: pictures in the file, and seconds.
_PICTURES_AWAY, _SECONDS_AWAY = 50, 1


@dataclass
class _Stamps:
    """The packets of a stream: their times in ticks, durations and sizes, in the order of the file."""

    times: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, time: int, packet: av.Packet) -> None:
        self.times.append(time)
        self.durations.append(packet.duration or 0)
        self.sizes.append(packet.size)


class DriftMeter:
    """Notes the stamps of a source's pictures and of one of its sounds while it is copied. Some bytes a packet.

    original   the source
    pictures   the index of its main video stream
    sound      the index of the sound
    """

    def __init__(self, original: InputContainer, pictures: int, sound: int) -> None:
        self.pictures, self.sound = pictures, sound
        self._format = original.format.name
        self._picture_tick = original.streams[pictures].time_base or Fraction(1)
        self._sound_tick = original.streams[sound].time_base or Fraction(1)
        self._own, self._corrected = array("q"), array("q")  # stamps of the pictures
        self._sounds, self._before = _Stamps(), array("q")  # and how many pictures are stored before each sound

    def begin(self, packet: av.Packet) -> None:
        """To be called with each packet of the source before its stamps are corrected."""
        packet.opaque = shown_stamp(packet, self._format)  # travels with it

    def note_picture(self, packet: av.Packet) -> None:
        stamp = shown_stamp(packet, self._format)
        if packet.size and not packet.is_discard and stamp is not None and isinstance(packet.opaque, int):
            self._own.append(packet.opaque)
            self._corrected.append(stamp)

    def note_sound(self, packet: av.Packet) -> None:
        """To be called with each packet of the sound that goes into the output."""
        self._sounds.add(packet.opaque if isinstance(packet.opaque, int) else 0, packet)
        self._before.append(len(self._own))

    def measure(
        self,
        path: Path,
        number: int,
        shown: Sequence[int],
        tick: Fraction,
        start: Fraction,
        on_packet: Callable[[], None],
    ) -> float | None:
        """Seconds by which the sound is late against the picture, at the beginning, in the middle or at the end of the
        file, wherever it is most; None if it cannot be told.

        number   of the sound among those of the file
        shown    when the pictures of the output are shown, in ticks of `tick` seconds on the source's clock, rising
        start    when the source's first picture is shown, in seconds
        """
        try:
            pictures, picture_tick, sounds, sound_tick = _read_back(path, number, on_packet)
        except (VideoError, av.error.FFmpegError, IndexError):
            return None  # the file is written, and no reason to give it up that this cannot be measured
        if not self._own or not sounds.times or len(pictures) != len(shown):
            return None
        order = sorted(range(len(self._corrected)), key=self._corrected.__getitem__)
        first = _nearest([self._corrected[each] for each in order], start / self._picture_tick)
        found = []
        for place in (first, (first + len(order)) // 2, len(order) - 1):
            picture = order[place]
            sound = self._sound_beside(picture)
            if sound is None:
                continue
            time = self._corrected[picture] * self._picture_tick
            same = 0 if place == first else _nearest(shown, time / tick)
            in_source = self._sounds.times[sound] * self._sound_tick - self._own[picture] * self._picture_tick
            # another frame rate may have no picture at the very time
            in_file = pictures[same] * picture_tick - (shown[same] * tick - time)
            found.append(self._written(sound, sounds) * sound_tick - in_file - in_source)
        return float(max(found, key=abs)) if found else None

    def _sound_beside(self, picture: int) -> int | None:
        """A packet of sound that is close to a picture, in time and also in the file, as joined parts repeat times."""
        begin = bisect_left(self._before, picture - _PICTURES_AWAY)
        end = bisect_right(self._before, picture + _PICTURES_AWAY)
        time = self._own[picture] * self._picture_tick

        def apart(sound: int) -> float:
            return float(abs(self._sounds.times[sound] * self._sound_tick - time))

        best = min(
            range(begin, end),
            key=lambda each: apart(each) / _SECONDS_AWAY + abs(self._before[each] - picture) / _PICTURES_AWAY,
            default=None,
        )
        return None if best is None or apart(best) > _SECONDS_AWAY else best

    def _written(self, sound: int, written: _Stamps) -> Fraction:
        """When a packet of the sound begins in the written file, in its ticks."""
        if len(written.times) == len(self._sounds.times):
            return Fraction(written.times[sound])
        # it was cut into other packets, or what is hidden at its beginning was not given back
        lacking = sum(self._sounds.sizes) - sum(written.sizes)
        place = sum(self._sounds.sizes[:sound]) - lacking
        begins = list(accumulate(written.sizes, initial=0))
        packet = min(max(bisect_right(begins, place) - 1, 0), len(written.times) - 1)
        share = Fraction(place - begins[packet], written.sizes[packet])
        return written.times[packet] + share * written.durations[packet]


def _read_back(
    path: Path, number: int, on_packet: Callable[[], None]
) -> tuple[Sequence[int], Fraction, _Stamps, Fraction]:
    """Times of the pictures of a file, rising, and the stamps of a sound; each with the tick of its clock."""
    pictures, sounds = array("q"), _Stamps()
    with open_input(path) as container:
        video, sound = main_video(container, path), container.streams.audio[number]
        for packet in container.demux(video, sound):
            on_packet()
            if packet.size and packet.pts is not None:
                if packet.stream_index == video.index:
                    pictures.append(packet.pts)
                else:
                    sounds.add(packet.pts, packet)
        return sorted(pictures), video.time_base or Fraction(1), sounds, sound.time_base or Fraction(1)


def _nearest(times: Sequence[int], time: Fraction) -> int:
    after = bisect_left(times, math.ceil(time))
    return min(range(max(after - 1, 0), min(after + 1, len(times))), key=lambda each: abs(times[each] - time))
