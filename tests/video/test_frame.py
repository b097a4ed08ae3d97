from fractions import Fraction

import numpy as np
import pytest
import torch
from frames import YUV420, gray_frame

from refilm.video import Colour, PixelFormat

RGB = PixelFormat("gbrp", "rgb", 8), Colour(matrix="rgb", range="pc")


def test_another_picture_keeps_everything_else():
    frame = gray_frame(50, Fraction(3), Fraction(1, 5), cut=True)
    painted = frame.with_rgb(torch.ones(3, 4, 6))
    assert (painted.height, painted.width) == (4, 6)
    assert (painted.planes[0] == 235).all()
    assert (painted.planes[1] == 128).all()
    assert (painted.format, painted.colour, painted.time, painted.duration) == (
        YUV420, Colour(), Fraction(3), Fraction(1, 5),
    )  # fmt: skip
    assert painted.starts_scene
    assert painted.origin == "source"


@pytest.mark.parametrize(("level", "code"), [(16, 0), (235, 255), (4, 0), (250, 255)])
def test_converting_clamps_what_is_beyond_black_and_white(level, code):
    converted = gray_frame(level, Fraction(0)).converted(*RGB)
    assert (converted.format, converted.colour) == RGB
    for plane in converted.planes:
        np.testing.assert_array_equal(plane, np.full((8, 12), code))


def test_rgb_may_be_changed_by_the_caller():
    frame = gray_frame(50, Fraction(0))
    before = frame.rgb.clone()
    frame.rgb.zero_()
    assert torch.equal(frame.rgb, before)
