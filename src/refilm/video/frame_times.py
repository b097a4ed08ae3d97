"""When decoded pictures are shown: as their stamps say, or as their order says where stamps are missing or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from typing import NamedTuple

import av
from av.video.frame import VideoFrame

# Packets by which a picture may be stored before others that are shown earlier: the limit of H.264 and HEVC.
_REORDERED = 16
# Pictures that wait for the next usable stamp, at most: each takes the memory of a picture.
_HELD = 4


class Origin(NamedTuple):
    """The packet that a picture comes from, as the decoder hands it through.

    number     counts the packets of the stream
    position   of the packet in the file, -1 if unknown; None where seeking would not lead there
    jumps      of the file's clock so far
    """

    number: int
    position: int | None
    jumps: int


class Timed(NamedTuple):
    """A picture with its time.

    ticks         when it is shown
    is_rebuilt    this is not what its stamp says
    can_be_sought whoever begins to decode somewhere before it finds the same time
    """

    picture: VideoFrame
    ticks: int
    is_rebuilt: bool
    can_be_sought: bool


@dataclass
class FrameTimes:
    """Gives pictures their times, which rise from one to the next.

    tick       seconds
    step       ticks from one picture to the next where nothing else tells
    counts     times are 0, step, 2 * step and so on, whatever the stamps say
    in_order   stamps are no times of presentation: the first picture shown takes the lowest one, and so on
    """

    tick: Fraction
    step: int
    counts: bool = False
    in_order: bool = False

    def of(self, pictures: Iterable[VideoFrame], waiting: dict[int, int]) -> Iterator[Timed]:
        """The pictures, which are in order of presentation, with their times.

        waiting   stamps of the packets whose pictures have not come yet, by the packets' numbers; it grows as packets
                  are decoded
        """
        held: list[tuple[VideoFrame, int | None]] = []  # pictures that follow `last` and have no usable stamp
        last: int | None = None
        stamped: Iterator[tuple[VideoFrame, int | None, bool] | None] = chain(self._stamped(pictures, waiting), [None])
        for current, following in pairwise(stamped):
            assert current is not None
            picture, ticks, is_independent = current
            upcoming = None if following is None else following[1]
            if (
                ticks is None
                or (last is not None and ticks <= last)
                or (last is not None and upcoming is not None and last < upcoming < ticks)  # far ahead of all others
            ):
                held.append((picture, ticks))
                if len(held) > _HELD:
                    last = self._counted(last, held)
                    yield Timed(held.pop(0)[0], last, True, False)
                continue
            if held:
                begin = ticks - self.step * (len(held) + 1) if last is None else last
                gap = ticks - begin
                for place, (earlier, _) in enumerate(held, start=1):
                    last = max(begin + gap * place // (len(held) + 1), begin + place)
                    yield Timed(earlier, last, True, False)
                held.clear()
                ticks = max(ticks, (last or 0) + 1)
            last = ticks
            is_rebuilt = last != self._stamp(picture)
            yield Timed(picture, last, is_rebuilt, is_independent and not is_rebuilt)
        while held:
            last = self._counted(last, held)
            yield Timed(held.pop(0)[0], last, True, False)

    def _counted(self, last: int | None, held: Sequence[tuple[VideoFrame, int | None]]) -> int:
        """The time of the first picture that is held, counted on from the one before it."""
        if last is None:
            return 0
        stamps = [stamp for _, stamp in held if stamp is not None]
        # stamps that rise again lie behind because an earlier one was ahead, which half steps make up for
        return last + (max(self.step // 2, 1) if len(set(stamps)) > 1 else self.step)

    def _stamped(
        self, pictures: Iterable[VideoFrame], waiting: dict[int, int]
    ) -> Iterator[tuple[VideoFrame, int | None, bool]]:
        """Each picture, its time if that is known, and whether this does not depend on other pictures."""
        newest = -1
        for count, picture in enumerate(pictures):
            origin = picture.opaque
            number = origin.number if isinstance(origin, Origin) else None
            newest = max(newest, -1 if number is None else number)
            for lost in [each for each in waiting if each < newest - _REORDERED]:
                del waiting[lost]  # no picture came of it
            stamp = self._stamp(picture)
            if self.counts:
                stamp = count * self.step
            elif self.in_order and waiting:
                lowest = min(waiting, key=lambda each: waiting[each])
                stamp = waiting[lowest]
                if number in waiting:
                    waiting[lowest] = waiting[number]  # for a picture that is shown later
                else:
                    number = lowest
            if number is not None:
                waiting.pop(number, None)
            yield picture, stamp, not (self.counts or (self.in_order and min(waiting, default=newest) < newest))

    def _stamp(self, picture: VideoFrame) -> int | None:
        if picture.pts is None or picture.time_base is None:
            return None
        return picture.pts if picture.time_base == self.tick else round(picture.pts * picture.time_base / self.tick)


def shown_stamp(packet: av.Packet, format_name: str) -> int | None:
    """The stamp that says when a picture of the stream is shown, though in some streams not which."""
    # AVI stores no times of presentation, and FFmpeg's guesses are late by the decoder's delay
    is_guessed = packet.pts is None or format_name == "avi"
    return packet.dts if is_guessed and packet.dts is not None else packet.pts


def are_wrong(pictures: Iterable[VideoFrame]) -> bool:
    """Whether stamps are missing, or fall though the pictures are in order of presentation."""
    stamps = [picture.pts for picture in pictures]
    known = [stamp for stamp in stamps if stamp is not None]
    return len(known) < len(stamps) or known != sorted(known)
