from __future__ import annotations

import threading
import time

import pytest

from refilm.jobs.background import running_ahead


def test_the_same_items_in_the_same_order():
    with running_ahead(iter(range(100)), depth=3) as items:
        assert list(items) == list(range(100))


def test_an_error_reaches_the_one_who_waits_for_the_item():
    def broken():
        yield 1
        raise RuntimeError("decoder fell over")

    with running_ahead(broken(), depth=3) as items:
        assert next(items) == 1
        with pytest.raises(RuntimeError, match="decoder fell over"):
            next(items)


def test_never_more_than_the_depth_waits():
    made = []

    def counted():
        for number in range(50):
            made.append(number)
            yield number

    with running_ahead(counted(), depth=4) as items:
        next(items)
        time.sleep(0.2)
        # one taken, four waiting, one in the maker's hand
        assert len(made) <= 6


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    with running_ahead(iter(range(10**9)), depth=2) as items:
        next(items)
    assert threading.active_count() == before
