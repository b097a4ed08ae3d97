"""How fast a job gets on, what the rest of it takes, and what is kept of it when it is stopped."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from refilm.jobs.in_words import rough_time
from refilm.jobs.work_folder import FinishedPiece

# The pieces of so many seconds, and at least the latest two, tell the speed.
_SECONDS_RECENT = 120.0


class Progress(NamedTuple):
    """The progress of a job.

    frames             source frames that are done
    total              source frames in all; None if the file does not say
    seconds            since this run began
    resumed_from       source frames that an earlier run had done
    frames_per_second  the speed of late, without what came before the first frame; None until it is known
    seconds_left       that the rest takes at this speed; None if that cannot be told
    """

    frames: int
    total: int | None
    seconds: float
    resumed_from: int = 0
    frames_per_second: float | None = None
    seconds_left: float | None = None


class Pace:
    """Estimates the rest of a job's time from its own recent course.

    What came before the first frame does not count. Once a piece is finished, whole pieces count, with all that became
    of them: frames that wait in an encoder look done and are not, so the slowest of decoding, computing and encoding
    decides.

    total    source frames in all, if known
    resumed  source frames that earlier runs have done
    expected seconds that a frame will take, until there are frames to measure
    encoding seconds of these that the encoder will take
    began    when the run began, by `clock`
    """

    def __init__(
        self,
        total: int | None,
        resumed: int = 0,
        expected: float | None = None,
        encoding: float = 0.0,
        began: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._resumed, self._clock = total, resumed, clock
        self._expected, self._encoding = expected, encoding
        self._began = clock() if began is None else began
        self._done = resumed
        self._made = 0  # frames by this run
        self._first: tuple[float, int] | None = None  # when the first frames were done, and how many were made then
        self._latest: tuple[float, int] | None = None
        # the first piece's encoder, at first and of late: seconds it has worked, and frames out of it
        self._encoder: list[tuple[float, float]] = []
        self._pieces: deque[tuple[float, int]] = deque()  # the same for the end of each piece

    def at(self, done: int, encoded: float = 1.0, writing: float = 0.0) -> Progress:
        """To be called after each item, with `done` source frames in all.

        encoded   share of those of this piece that have left the encoder
        writing   seconds that writing the piece has taken until now
        """
        self._note(done)
        if encoded:
            self._encoder.append((writing, self._made * encoded))
            del self._encoder[1:-1]
        return self._progress()

    def piece_ended(self, done: int) -> None:
        """To be called when a piece is finished, with `done` source frames in all."""
        now = self._note(done)
        self._pieces.append(now)
        while len(self._pieces) > 2 and now[0] - self._pieces[1][0] >= _SECONDS_RECENT:
            self._pieces.popleft()

    def skip_to(self, done: int) -> None:
        """To be called where the job goes on behind pieces that were finished before."""
        self._done = done

    def _note(self, done: int) -> tuple[float, int]:
        self._made += max(done - self._done, 0)
        self._done = max(done, self._done)
        self._latest = self._clock(), self._made
        if self._first is None and self._made:
            self._first = self._latest
        return self._latest

    def _progress(self) -> Progress:
        assert self._latest is not None
        now, made = self._latest
        each, left = self.frame_seconds, None
        if self._total is not None and each is not None:
            rest = max(self._total - self._done, 0)
            left = rest * each
            if self._pieces:  # frames behind the last finished piece may still wait in the encoder
                ended, then = self._pieces[-1]
                left = max(left, (rest + made - then) * each - (now - ended))
            else:
                out, took = 0.0, self._encoding
                if self._encoder and (encoded := self._encoder[-1][1] - self._encoder[0][1]) > 0:
                    out, took = self._encoder[-1][1], (self._encoder[-1][0] - self._encoder[0][0]) / encoded
                left = max(left, (rest + made - out) * took)
                each = left / max(rest, 1)
        speed = None if not each else 1 / each
        return Progress(self._done, self._total, now - self._began, self._resumed, speed, left)

    @property
    def frame_seconds(self) -> float | None:
        """Seconds that a source frame takes; None if nothing is known."""
        if self._latest is None:
            return self._expected
        marks = [*([self._first] if self._first and len(self._pieces) < 2 else []), *self._pieces]
        begin, end = (marks[0], marks[-1]) if len(marks) > 1 else (self._first or self._latest, self._latest)
        return (end[0] - begin[0]) / (end[1] - begin[1]) if end[1] > begin[1] else self._expected


def what_is_kept(
    finished: Mapping[int, FinishedPiece], total: int | None, length: int, frame_seconds: float | None
) -> str:
    """What is kept of a job that was stopped, in words.

    finished       the finished pieces by their numbers
    total          source frames in all, if known
    length         source frames in a segment
    frame_seconds  that a source frame takes, if known
    """
    kept = sum(piece.frames_in for piece in finished.values())
    if not kept:
        first = length if total is None else min(length, total)
        lasting = (
            "" if frame_seconds is None else f"; the first {first} frames take {rough_time(first * frame_seconds)}"
        )
        return f"stopped; nothing is kept yet{lasting}"
    is_begin = all(index in finished for index in range(len(finished)))
    of = "" if total is None else f" of {max(total, kept)}"
    return f"stopped; kept {'the first ' * is_begin}{kept}{of} frames; run the same command again to go on from there"
