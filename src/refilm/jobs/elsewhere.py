"""Pieces made by many workers: who makes which, and what is done where one is lost, fails, or is slow.

Nothing here depends on how workers are reached; `ray_pool.py` reaches those of a Ray cluster. A piece is the same
whoever makes it, so a slow one can be given out again, and the first result counts.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from refilm.errors import JobError
from refilm.jobs.pieces import PieceSpec
from refilm.jobs.work_folder import FinishedPiece

SLOW = 3.0  # a piece that takes so many times the median is given out again, once nothing else is waiting
TRIES = 4  # so often a piece may fail where its worker is to blame
_PATIENCE = 2.0  # seconds after which it is looked for slow pieces again


class WorkerError(Exception):
    """A worker is gone, or cannot work, as its disk is full; another may do better."""


class Pool(Protocol):
    """Workers. A ticket is what `give` returns for a piece, and can be a key of a dictionary.

    places   so many pieces are made at a time; it may change
    """

    @property
    def places(self) -> int: ...

    def give(self, spec: PieceSpec) -> Any:
        """Begin a piece somewhere. -> its ticket"""
        ...

    def ended(self, tickets: Sequence[Any], seconds: float) -> Sequence[Any]:
        """The tickets among these whose pieces have ended in some way; waits for the first, so many seconds at most."""
        ...

    def result(self, ticket: Any) -> FinishedPiece:
        """The finished piece. Raises WorkerError if its worker is to blame, else what making it raised."""
        ...

    def take_back(self, ticket: Any) -> None:
        """Stop making a piece, as far as that is possible."""
        ...


@dataclass
class _Given:
    """Pieces that are being made.

    at   by ticket: the number of the piece, and when it was given out
    """

    at: dict[Any, tuple[int, float]] = field(default_factory=dict)

    def of(self, index: int) -> list[Any]:
        return [ticket for ticket, (own, _) in self.at.items() if own == index]


def made_by(
    pool: Pool, specs: Sequence[PieceSpec], clock: Callable[[], float] = time.monotonic
) -> Iterator[FinishedPiece]:
    """Make pieces by a pool, and yield each when it is in the work folder, in any order.

    Raises JobError if a piece has failed TRIES times because of its workers, and what making a piece raises otherwise.
    When it ends, or is closed, no piece is being made any more.
    """
    by_index = {spec.index: spec for spec in specs}
    waiting, given = deque(by_index), _Given()
    failed: dict[int, int] = dict.fromkeys(by_index, 0)
    took: list[float] = []
    try:
        while waiting or given.at:
            while waiting and len(given.at) < max(pool.places, 1):
                index = waiting.popleft()
                given.at[pool.give(by_index[index])] = index, clock()
            for index in [] if waiting else _slow(given, took, clock()):
                if len(given.at) < pool.places:
                    given.at[pool.give(by_index[index])] = index, clock()
            for ticket in pool.ended(list(given.at), _PATIENCE):
                if ticket not in given.at:  # a twin has ended in the same moment
                    continue
                index, began = given.at.pop(ticket)
                try:
                    piece = pool.result(ticket)
                except WorkerError as error:
                    failed[index] += 1
                    if failed[index] == TRIES:
                        raise JobError(f"piece {index} has failed on {TRIES} workers, at last: {error}") from error
                    if not given.of(index):
                        waiting.append(index)
                    continue
                took.append(clock() - began)
                for twin in given.of(index):
                    pool.take_back(twin)
                    del given.at[twin]
                yield piece
    finally:
        for ticket in given.at:
            pool.take_back(ticket)


def _slow(given: _Given, took: Sequence[float], now: float) -> list[int]:
    """The pieces that are made once, and have taken much longer than others, the slowest first."""
    if not took:
        return []
    limit, makers = SLOW * median(took), Counter(index for index, _ in given.at.values())
    single = [(now - began, index) for index, began in given.at.values() if makers[index] == 1]
    return [index for spent, index in sorted(single, reverse=True) if spent > limit]
