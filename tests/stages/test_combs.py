"""Combs are recognised, and telecined film is told from interlaced video; fine lines are none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from media import picture, pulled_down

from refilm.stages.combs import CombCheck
from refilm.stages.findings import Combs
from refilm.video import Colour, Frame, PixelFormat

SIZE = (120, 160)


def found(pictures, bits=8, lines=0):
    """What the check says of frames whose upper and lower lines show these pictures; `lines`: depth of fine lines."""
    name = "yuv420p" if bits == 8 else "yuv420p10le"
    check = CombCheck()
    for number, (upper, lower) in enumerate(pictures):
        planes = picture(upper, *SIZE, name)
        planes[0][1::2] = picture(lower, *SIZE, name)[0][1::2]
        planes[0][::2] -= np.minimum(planes[0][::2], lines)
        time = Fraction(number, 25)
        check.push(Frame(tuple(planes), PixelFormat(name, "yuv", bits, 1, 1), Colour(), time, Fraction(1, 25)))
    return check.finding


@pytest.mark.parametrize("bits", [8, 10])
def test_pulldown_is_telecined(bits):
    combs = found(pulled_down(20), bits)
    assert combs.telecined >= combs.frames / 3 > 3
    assert combs.woven <= combs.frames / 6


@pytest.mark.parametrize("bits", [8, 10])
def test_fields_of_their_own_moments_are_woven(bits):
    combs = found([(2 * n, 2 * n + 1) for n in range(16)], bits)
    assert combs.woven >= 0.8 * combs.frames > 8
    lower_first = found([(2 * n + 1, 2 * n) for n in range(16)], bits)
    assert lower_first.woven >= 0.8 * lower_first.frames > 8


@pytest.mark.parametrize("lines", [0, 60])
def test_whole_pictures_are_neither(lines):
    combs = found([(n, n) for n in range(16)], lines=lines)
    assert (combs.telecined, combs.woven) == (0, 0)
    assert combs.frames > (0 if lines else 8)


def test_a_still_scene_says_nothing():
    assert found([(0, 1)] * 16) == Combs()
