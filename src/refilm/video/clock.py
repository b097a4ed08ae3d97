"""The one clock of a file: where its time stamps jump, all streams are moved by the same amount.

Joined recordings, broadcasts whose counter starts anew, and damaged stamps make the time of a stream jump. Each stream
does so at another packet, and the parts need not be of equal length in all streams. What keeps sound and picture
together is that one offset holds for all of them from there on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition

# Seconds. Stamps that go back by more begin a new clock, as where broadcasts are joined; by less, they are wrong.
JUMP = Fraction(1, 2)
# Seconds without a packet of any stream that are no pause but a jump, in containers whose clock may jump. As in FFmpeg.
_GAP = 10
# How far is read on after a jump, to see what the other streams do: seconds of the stream that jumped, and packets.
_SECONDS_AHEAD, _PACKETS_AHEAD = 2, 4000
# Packets of a stream after a jump that are waited for: it may come back, and then only the stamps between were wrong.
_RETURNS_WITHIN = 4


class Clock:
    """Corrects the time stamps of a file's packets. It belongs to one reading of the file.

    jumps      how many were corrected so far
    may_jump   whether the format is one whose clock may begin anew anywhere
    """

    def __init__(self, container: InputContainer) -> None:
        self.jumps = 0
        self.may_jump = Flags.ts_discont in Flags(container.format.flags)
        self._courses = {stream.index: _Course(stream) for stream in container.streams if stream.time_base}
        self._ahead: deque[av.Packet] = deque()

    def has_moved(self, packet: av.Packet) -> bool:
        """Whether the packet, the latest of its stream, got other stamps than it has in the file."""
        course = self._courses.get(packet.stream_index)
        return course is not None and course.has_moved

    def corrected(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The packets of all streams of the file, in its order, with corrected stamps. Raises what `packets` raises."""
        source = _Source(packets)
        while (packet := self._ahead.popleft() if self._ahead else source.next()) is not None:
            course = self._courses.get(packet.stream_index)
            if course is not None:
                if course.strays(packet):
                    self._settle(packet, course, source)
                course.place(packet)
            yield packet
        if source.error is not None:
            raise source.error

    def _settle(self, first: av.Packet, course: _Course, source: _Source) -> None:
        """Find out from the packets that follow what it means that `first` strays, and plan what becomes of them."""
        landed = reached = course.time(first)
        strayed = [first]
        ends = {index: each.end for index, each in self._courses.items() if each.has_begun}
        beyond = {first.stream_index: first}  # the first packet of each stream after the jump
        going_on: dict[int, av.Packet] = {}  # the last packet of the others before it
        for packet in self._reading_ahead(source):
            index = packet.stream_index
            if index not in ends or not _is_timed(packet):
                continue
            other = self._courses[index]
            time = other.time(packet)
            if other is course:
                if abs(time - reached) > JUMP and abs(time - course.end) <= JUMP:
                    course.restamp(strayed)  # it comes back
                    return
                if abs(time - landed) > _SECONDS_AHEAD:
                    break
                reached = time
                strayed.append(packet)
            elif index not in beyond and abs(time - reached) < abs(time - ends[index]):
                beyond[index] = packet
            elif index not in beyond:
                going_on[index], ends[index] = packet, time + other.length(packet)
            if len(strayed) > _RETURNS_WITHIN and all(each in beyond for each in ends if self._courses[each].is_steady):
                break
        steady = {index: end for index, end in ends.items() if self._courses[index].is_steady}
        furthest = max(steady.values())
        fallen = max(end - self._courses[index].time(beyond[index]) for index, end in steady.items() if index in beyond)
        if fallen > JUMP or (self.may_jump and landed > furthest + _GAP):
            self._move(beyond, going_on, ends)

    def _move(self, beyond: dict[int, av.Packet], going_on: dict[int, av.Packet], ends: dict[int, Fraction]) -> None:
        """Let what lies beyond a jump follow what came before it, in every stream."""
        self.jumps += 1
        begins = {index: self._courses[index].time(packet) for index, packet in beyond.items()}
        steady = [index for index in ends if self._courses[index].is_steady]
        # where other streams go on for a while, the clock is right, and those that jump are moved alone
        is_shared = all(ends[index] - self._courses[index].end <= JUMP for index in steady if index not in beyond)
        first = min(begins[index] for index in steady if index in beyond)
        offset = max(ends[index] - begins.get(index, first) for index in steady if index in beyond or is_shared)
        for index, course in self._courses.items():
            if index in beyond:
                course.move(offset, before=beyond[index])
            elif is_shared:
                course.move(offset, after=going_on.get(index))

    def _reading_ahead(self, source: _Source) -> Iterator[av.Packet]:
        yield from tuple(self._ahead)
        while len(self._ahead) < _PACKETS_AHEAD and (packet := source.next()) is not None:
            self._ahead.append(packet)
            yield packet


class _Source:
    """Packets one by one. Their end and errors in reading them may be found while others are waiting to be given on."""

    def __init__(self, packets: Iterable[av.Packet]) -> None:
        self.error: av.error.FFmpegError | None = None
        self._packets = iter(packets)

    def next(self) -> av.Packet | None:
        try:
            return next(self._packets, None)
        except av.error.FFmpegError as error:
            self.error, self._packets = error, iter(())
            return None


class _Course:
    """The course of one stream on the clock. Stamps are in ticks of its time base, times in seconds.

    is_steady   whether it is sound or moving pictures, whose packets follow each other without large gaps
    has_begun   whether there was a packet
    has_moved   whether the latest packet got other stamps than it has in the file
    """

    def __init__(self, stream: Any) -> None:
        self.is_steady = stream.type in ("audio", "video") and not stream.disposition & Disposition.attached_pic
        self.has_begun = self.has_moved = False
        self._is_video = stream.type == "video"
        self._tick: Fraction = stream.time_base
        self._jump = int(JUMP / self._tick)
        self._moved = 0  # is added to all stamps
        self._last = self._step = 0  # the latest stamp, and how far it was from the one before
        self._end = 0  # where the next packet is expected
        self._turns: list[tuple[av.Packet, bool, int]] = []  # a packet, whether before it, and what is added then
        self._wrong: list[av.Packet] = []  # packets whose stamps are to be ignored

    @property
    def end(self) -> Fraction:
        """When the next packet is expected."""
        return self._end * self._tick

    def time(self, packet: av.Packet) -> Fraction:
        return (_stamp(packet) + self._moved) * self._tick

    def length(self, packet: av.Packet) -> Fraction:
        return (packet.duration or self._step) * self._tick

    def strays(self, packet: av.Packet) -> bool:
        """Whether the packet is not where it is expected, and nobody knows yet why."""
        if not (self.is_steady and self.has_begun and _is_timed(packet)) or self._is_planned(packet):
            return False
        stamp = _stamp(packet) + self._moved
        return stamp < self._last or stamp > self._end + self._jump

    def move(self, offset: Fraction, before: av.Packet | None = None, after: av.Packet | None = None) -> None:
        """Move the stream from `before` on, or from behind `after`, or from now on."""
        ticks = round(offset / self._tick)
        packet = before or after
        if packet is not None:
            self._turns.append((packet, packet is before, ticks))
        else:
            self._moved += ticks

    def restamp(self, packets: Iterable[av.Packet]) -> None:
        self._wrong.extend(packets)

    def place(self, packet: av.Packet) -> None:
        """Correct the packet's stamps."""
        self._take_turn(packet, before=True)
        is_wrong = any(packet is each for each in self._wrong)
        if is_wrong:
            self._wrong = [each for each in self._wrong if each is not packet]
            # pictures are shown in another order than they are stored in, so their times are to be rebuilt
            packet.dts, packet.pts = self._end, None if self._is_video else self._end
        elif self._moved:
            packet.dts = None if packet.dts is None else packet.dts + self._moved
            packet.pts = None if packet.pts is None else packet.pts + self._moved
        self.has_moved = is_wrong or self._moved != 0
        if _is_timed(packet):
            stamp = _stamp(packet)
            if self.has_begun:
                self._step = max(stamp - self._last, 0)
            self._last = max(stamp, self._last) if self.has_begun else stamp
            self._end = self._last + (packet.duration or self._step)
            self.has_begun = True
        self._take_turn(packet, before=False)

    def _is_planned(self, packet: av.Packet) -> bool:
        return any(packet is each for each in self._wrong) or any(
            packet is each and before for each, before, _ in self._turns
        )

    def _take_turn(self, packet: av.Packet, before: bool) -> None:
        for turn in [each for each in self._turns if each[0] is packet and each[1] == before]:
            self._turns.remove(turn)
            self._moved += turn[2]


def _is_timed(packet: av.Packet) -> bool:
    # hidden packets are needed to decode others, and lie outside the course of time
    return packet.size > 0 and not packet.is_discard and (packet.dts is not None or packet.pts is not None)


def _stamp(packet: av.Packet) -> int:
    return (packet.dts if packet.dts is not None else packet.pts) or 0
