"""The packets of a source's other streams, on their way to the output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition, Stream

from refilm.video.carriers import Carrier, Copied
from refilm.video.clock import Clock
from refilm.video.drift import DriftMeter
from refilm.video.part import Cut
from refilm.video.video_info import describe_stream

# Seconds of sound that may be missing without a word: containers round, and count what encoders add.
_NOT_MISSED = Fraction(1, 2)
# Seconds at the beginning of a sound that its decoder needs, and that encoders have hidden for this: 0.08 s in Opus.
_LEAD_IN = Fraction(1, 10)
# Seconds before a part from which it is read for subtitles that are still shown in it, and seconds after it in which
# packets of other streams may follow.
_SHOWN_FOR, _INTERLEAVED = 60, 10
# Containers in which players hide what comes before 0.
_HIDES_BEFORE_0 = ("mp4", "mov")


def copied_packets(
    original: InputContainer,
    carriers: dict[int, Carrier],
    format_name: str,
    meter: DriftMeter | None,
    warn: Callable[[str], None],
    cut: Cut | None = None,
    ahead: Fraction = Fraction(0),
) -> Iterator[av.Packet]:
    """The packets of the source's streams for the output.

    carriers   by the indices of the streams
    meter      is told of pictures and of the sound that it measures
    cut        the part that is copied; a packet of sound is in it if it begins in it, and subtitles are shortened
    ahead      see VideoInfo; their times are the pictures' in the end
    """
    if not carriers:
        return
    reached = Fraction(0)
    ways = {index: _Way(original.streams[index], carrier, format_name) for index, carrier in carriers.items()}
    clock = Clock(original)
    if cut is not None and cut.was_sought:
        original.seek(math.floor((cut.begin - _SHOWN_FOR) * av.time_base))
    try:
        for packet in clock.corrected(_noted(moved(original.demux(), -ahead), meter)):
            way = ways.get(packet.stream_index)
            if cut is not None and not (way is not None and way.is_cover):
                if cut.end is not None and decode_time(packet) > cut.end + _INTERLEAVED:
                    break
                if not _is_inside(packet, cut, way):
                    continue
            if meter is not None and packet.stream_index == meter.pictures:
                meter.note_picture(packet)
            if way is not None and packet.size and (packet.dts is not None or packet.pts is not None or way.is_cover):
                for each in way.allowed(packet, clock):
                    reached = max(reached, decode_time(each))
                    if meter is not None and each.stream_index == meter.sound:
                        meter.note_sound(each)
                    yield from way.carrier.carry(each)
    except av.error.FFmpegError as error:
        kinds = ", ".join(sorted({carrier.stream.type for carrier in carriers.values()}))
        warn(f"the source is damaged at {float(reached):.2f} s ({error.strerror}): its {kinds} end there")
    for index, way in ways.items():
        yield from way.carrier.end()
        if way.carrier.damaged:
            warn(f"{describe_stream(original.streams[index])}: {way.carrier.damaged} damaged packets are left out")
        if (
            cut is None
            and way.carrier.stream.type == "audio"
            and (missing := way.missing(original.streams[index])) > _NOT_MISSED
        ):
            warn(f"{describe_stream(original.streams[index])} ends {float(missing):.2f} s before its declared end")


def _is_inside(packet: av.Packet, cut: Cut, way: _Way | None) -> bool:
    """Whether the packet, or what is left of it when it is shortened, lies in the part."""
    kind = None if way is None else way.carrier.stream.type
    if kind == "subtitle":
        return packet.size > 0 and cut.shorten(packet)
    stamp = packet.pts if packet.pts is not None else packet.dts
    if stamp is None or packet.time_base is None or not cut.holds(stamp * packet.time_base):
        return False
    if kind == "video" and way is not None:  # another one, which can be decoded from a key frame on
        way.has_begun |= packet.is_keyframe
        return way.has_begun
    return True


def _noted(packets: Iterable[av.Packet], meter: DriftMeter | None) -> Iterator[av.Packet]:
    for packet in packets:
        if meter is not None:
            meter.begin(packet)
        yield packet


class _Way:
    """The way of one stream into the output: what is hidden stays hidden, and decoding times rise."""

    def __init__(self, stream: Stream, carrier: Carrier, format_name: str) -> None:
        self.carrier = carrier
        self.has_begun = False
        self.is_cover = bool(stream.disposition & Disposition.attached_pic)
        # pictures that are copied may need the hidden ones, and what is decoded here hides them itself
        self._hides = isinstance(carrier, Copied) and stream.type != "video"
        self._before_0 = format_name in _HIDES_BEFORE_0
        self._hidden: list[av.Packet] = []
        self._last: int | None = None
        self._next = 0
        self._has_moved = False

    def allowed(self, packet: av.Packet, clock: Clock) -> Iterator[av.Packet]:
        """The packets that the output may have at this packet's turn, itself or others."""
        if self.is_cover:
            packet.pts = packet.dts = 0
        self._has_moved |= clock.has_moved(packet)
        if self._hides and packet.is_discard:
            if self._last is None:
                self._hidden.append(packet)
            return
        if self._hidden:
            lead_in, self._hidden = self._hidden, []
            time = decode_time(packet)
            is_hidden_again = self._before_0 and time <= (packet.duration or 0) * (packet.time_base or 1)
            if is_hidden_again or time - decode_time(lead_in[0]) <= _LEAD_IN:
                yield from map(self._rising, lead_in)
        yield self._rising(packet)

    def _rising(self, packet: av.Packet) -> av.Packet:
        """The packet, decoded later than the one before, as every container demands."""
        if packet.dts is not None:
            if self._last is not None and packet.dts <= self._last:
                packet.dts = self._last + 1
                packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
            self._last, self._next = packet.dts, packet.dts + (packet.duration or 1)
        return packet

    def missing(self, stream: Stream) -> Fraction:
        """Seconds that the stream declares beyond its last packet; 0 where its clock was not to be relied on."""
        if self._has_moved or stream.duration is None or stream.time_base is None:
            return Fraction(0)
        return ((stream.start_time or 0) + stream.duration - self._next) * stream.time_base


def moved(packets: Iterable[av.Packet], later: Fraction) -> Iterator[av.Packet]:
    """The packets with `later`, in seconds, added to their times."""
    for packet in packets:
        if later:
            ticks = round(later / (packet.time_base or 1))
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        yield packet


def decode_time(packet: av.Packet) -> Fraction:
    """When the packet is decoded, in seconds."""
    ticks = packet.dts if packet.dts is not None else packet.pts
    return (ticks or 0) * (packet.time_base or Fraction(1))
