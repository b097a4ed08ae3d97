"""A part of a film that is worked on alone."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av


class Part(NamedTuple):
    """What is wanted: the frames shown in [begin, end), in seconds since the film's first frame; None: to the end."""

    begin: Fraction = Fraction(0)
    end: Fraction | None = None


@dataclass(frozen=True)
class Cut:
    """A part on the source's clock, in seconds.

    begin       when its first frame is shown
    end         when it ends; None: with the film
    film_start  when the film's first frame is shown
    was_sought  whether its first frame was found by seeking, which then leads to other places too
    """

    begin: Fraction
    end: Fraction | None
    film_start: Fraction
    was_sought: bool

    def holds(self, time: Fraction) -> bool:
        return self.begin <= time and (self.end is None or time < self.end)

    def inside(self, start: Fraction, end: Fraction) -> tuple[Fraction, Fraction] | None:
        """What lies in the part of a chapter or anything else that lasts from `start` to `end`; None if nothing."""
        start, end = max(start, self.begin), end if self.end is None else min(end, self.end)
        return (start, end) if start < end else None

    def shorten(self, packet: av.Packet) -> bool:
        """Cut a packet of a subtitle to the part. -> whether anything of it is left"""
        tick, time = packet.time_base, packet.pts if packet.pts is not None else packet.dts
        if tick is None or time is None:
            return False
        if not packet.duration:  # it is shown until the next one
            return self.holds(time * tick)
        left = self.inside(time * tick, (time + packet.duration) * tick)
        if left is None:
            return False
        start, end = (round(each / tick) for each in left)
        packet.duration = max(end - start, 1)
        if start != time:
            packet.pts = packet.dts = start
        return True
