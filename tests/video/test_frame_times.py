"""Times of pictures from stamps that are right, wrong, missing, or not those of presentation."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import pytest

from refilm.video.frame_times import FrameTimes, Origin

TICK = Fraction(1, 1000)


def picture(stamp, number=0):
    return SimpleNamespace(pts=stamp, time_base=TICK, opaque=Origin(number, 7, 0))


def own(*stamps, step=40):
    """-> times, and which of them were rebuilt"""
    timed = list(FrameTimes(TICK, step).of(map(picture, stamps), {}))
    assert len(timed) == len(stamps)
    return [each.ticks for each in timed], [place for place, each in enumerate(timed) if each.is_rebuilt]


@pytest.mark.parametrize(
    ("stamps", "times", "rebuilt"),
    [
        ((0, 33, 67, 5000), [0, 33, 67, 5000], []),
        ((0, 40, None, 120), [0, 40, 80, 120], [2]),
        ((0, 40, 40, 120), [0, 40, 80, 120], [2]),
        ((0, 400, 80, 120), [0, 40, 80, 120], [1]),
        ((0, 40, 0, 20, 160), [0, 40, 80, 120, 160], [2, 3]),
        ((None, None, 120), [40, 80, 120], [0, 1]),
        ((None, None), [0, 40], [0, 1]),
        ((0, 1, 1, 1, 2, 40), [0, 1, 2, 3, 4, 40], [2, 3, 4]),
        ((0, *[40] * 9), [k * 40 for k in range(10)], list(range(2, 10))),
        ((0, 400, 440, *range(120, 2000, 40)), None, None),
    ],
)
def test_times_rise_and_no_picture_is_left_out(stamps, times, rebuilt):
    found, changed = own(*stamps)
    assert found == sorted(set(found))
    if times is not None:
        assert (found, changed) == (times, rebuilt)
    else:  # what follows a stamp far ahead is on time again once that is reached
        assert found[-5:] == list(stamps[-5:])


def shown(order, lost=()):
    """Times of pictures whose packets, numbered from 0, have their own numbers as stamps; `order` of presentation."""
    waiting = {}

    def decoded():
        for place, number in enumerate(order):
            for fed in range(min(place + 4, max(order) + 1)):  # packets enter the decoder before pictures leave it
                if fed not in seen:
                    seen.add(fed)
                    waiting[fed] = fed
            yield picture(number, number)

    seen = set()
    assert not set(lost) & set(order)
    return [each.ticks for each in FrameTimes(TICK, 1, in_order=True).of(decoded(), waiting)]


def test_stamps_in_the_order_of_decoding_are_given_out_in_the_order_of_presentation():
    order = [0, 3, 2, 4, 1, 7, 6, 8, 5, 9]
    assert shown(order) == list(range(10))


def test_pictures_that_never_come_delay_nothing_for_long():
    lost = {5, 6}
    order = [number for number in range(60) if number not in lost]
    assert shown(order, lost)[-30:] == order[-30:]


def test_counted_times_do_not_ask_the_stamps():
    timed = FrameTimes(Fraction(1, 60), 1, counts=True).of(map(picture, (5, None, 3)), {})
    assert [(each.ticks, each.can_be_sought) for each in timed] == [(0, False), (1, False), (2, False)]
