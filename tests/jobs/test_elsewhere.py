"""Workers that are lost, fail or are slow: every piece is made, and none twice without need."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from refilm.errors import JobError, VideoError
from refilm.jobs.elsewhere import SLOW, TRIES, WorkerError, made_by


@dataclass(frozen=True)
class Spec:
    index: int


@dataclass(frozen=True)
class Piece:
    index: int
    by: int


class Clockwork:
    """A pool whose pieces take as long as `plan` says, on a clock of its own.

    plan   (number of the piece, how often it was given before) -> seconds, or the exception that it ends with
    """

    def __init__(self, places, plan=lambda index, before: 1.0):
        self.places, self._plan, self.now = places, plan, 0.0
        self.given, self.taken_back, self.running = [], [], {}

    def give(self, spec):
        ticket = len(self.given)
        told = self._plan(spec.index, self.given.count(spec.index))
        self.given.append(spec.index)
        failure = told if isinstance(told, Exception) else None
        self.running[ticket] = (spec.index, self.now + (1.0 if failure else told), failure)
        assert len(self.running) <= self.places
        return ticket

    def ended(self, tickets, seconds):
        assert set(tickets) == set(self.running)
        first = min(end for _, end, _ in self.running.values())
        self.now = min(first, self.now + seconds)
        return [ticket for ticket in tickets if self.running[ticket][1] <= self.now]

    def result(self, ticket):
        index, _, failure = self.running.pop(ticket)
        if failure:
            raise failure
        return Piece(index, ticket)

    def take_back(self, ticket):
        self.taken_back.append(ticket)
        self.running.pop(ticket, None)


def made(pool, count):
    pieces = list(made_by(pool, [Spec(index) for index in range(count)], lambda: pool.now))
    assert sorted(piece.index for piece in pieces) == list(range(count))
    assert not pool.running
    return pieces


def test_no_more_pieces_are_made_at_a_time_than_there_are_places():
    pool = Clockwork(3)
    made(pool, 10)
    assert sorted(pool.given) == list(range(10))
    assert pool.now == pytest.approx(4.0)


def test_a_piece_of_a_lost_worker_is_given_out_again():
    pool = Clockwork(2, lambda index, before: WorkerError("gone") if index == 1 and before < TRIES - 1 else 1.0)
    made(pool, 4)
    assert pool.given.count(1) == TRIES


def test_a_piece_that_fails_everywhere_ends_the_job():
    pool = Clockwork(2, lambda index, before: WorkerError("the disk of a is full") if index == 1 else 1.0)
    with pytest.raises(JobError, match=rf"piece 1 has failed on {TRIES} workers, at last: the disk of a is full"):
        made(pool, 4)
    assert not pool.running


def test_what_is_wrong_with_the_film_is_not_tried_again():
    pool = Clockwork(2, lambda index, before: VideoError("broken") if index == 2 else 1.0)
    with pytest.raises(VideoError, match="broken"):
        made(pool, 4)
    assert pool.given.count(2) == 1
    assert not pool.running


def test_a_slow_piece_is_given_out_again_and_the_first_result_counts():
    pool = Clockwork(2, lambda index, before: 1000.0 if index == 3 and not before else 1.0)
    pieces = made(pool, 6)
    assert pool.given.count(3) == 2
    assert pool.taken_back == [3]
    assert {piece.index: piece.by for piece in pieces}[3] != 3
    assert pool.now < 10 + SLOW


def test_twins_may_end_in_the_same_moment():
    pool = Clockwork(2, lambda index, before: (SLOW + 3.0 if not before else 1.0) if index == 1 else 1.0)
    pieces = made(pool, 2)
    assert len(pieces) == 2


def test_closing_stops_what_is_being_made():
    pool = Clockwork(3)
    running = made_by(pool, [Spec(index) for index in range(9)], lambda: pool.now)
    next(running)
    running.close()
    assert not pool.running
