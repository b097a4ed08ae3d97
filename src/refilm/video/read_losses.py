"""What of a source could not be read."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass
class ReadLosses:
    """What could not be read. A job reports it, so that no loss is silent."""

    jumps: int = 0  # of the source's clock; what follows is moved to the end of what came before
    damaged_packets: int = 0  # the decoder refused them
    interlaced: int = 0  # frames of two fields, where the first frames are not
    rebuilt_times: int = 0  # frames whose time stamp was missing or wrong
    captions: int = 0  # frames with closed captions, where the first have none
    dynamic_hdr: int = 0  # frames with HDR10+ or Dolby Vision metadata, where the first have none
    resized: int = 0  # frames of another size than the first, scaled to it
    differing: int = 0  # pictures of a learned codec that are not quite those of its encoder
    missing_seconds: float = 0.0  # declared by the file, but not there

    def since(self, before: ReadLosses) -> dict[str, float]:
        """What was lost after `before` was noted."""
        changes = {name: value - getattr(before, name) for name, value in vars(self).items()}
        return {name: change for name, change in changes.items() if change}

    def add(self, changes: dict[str, float]) -> None:
        for name, change in changes.items():
            setattr(self, name, getattr(self, name) + change)

    def warnings(self) -> list[str]:
        lines = []
        if self.missing_seconds > 0:
            lines.append(
                f"the source ends {self.missing_seconds:.2f} s before its declared end (truncated?); "
                "it was processed up to its last good frame"
            )
        if self.jumps:
            lines.append(f"the source's clock jumps {self.jumps} times; the parts were put one after the other")
        if self.damaged_packets:
            lines.append(f"{self.damaged_packets} damaged packets of the source could not be decoded")
        if self.differing:
            lines.append(
                f"{self.differing} pictures are not to the last digit those that were encoded: this machine computes "
                "otherwise; what differs is a code here and there"
            )
        if self.interlaced:
            lines.append(f"{self.interlaced} frames are interlaced, unlike the first; their fields were taken as one")
        if self.captions:
            lines.append(f"{self.captions} frames have closed captions, unlike the first; these are not carried over")
        if self.dynamic_hdr:
            lines.append(
                f"{self.dynamic_hdr} frames have HDR10+ or Dolby Vision metadata, unlike the first; "
                "it is not carried over"
            )
        if self.rebuilt_times:
            lines.append(f"{self.rebuilt_times} frames have no time stamp, or a wrong one; their order gave them times")
        if self.resized:
            lines.append(f"{self.resized} frames of another size than the first were scaled to it")
        return lines


class BookedLosses:
    """Losses by the number of the frame that each is counted with, so that those of the pieces of a job add up."""

    def __init__(self) -> None:
        self._booked: deque[tuple[int, dict[str, float]]] = deque()

    def book(self, number: int, lost: dict[str, float]) -> None:
        """Count losses with a frame; numbers rise."""
        self._booked.append((number, lost))

    def take(self, first: int, end: int | None) -> dict[str, float]:
        """The sum of what is counted with frames `first` to `end`, None for the last one; taken once."""
        total: dict[str, float] = {}
        while self._booked and (end is None or self._booked[0][0] < end):
            number, lost = self._booked.popleft()
            for name, amount in lost.items() if number >= first else ():
                total[name] = total.get(name, 0.0) + amount
        return total
