import numpy as np
import pytest

from refilm.video.pixel_format import held_format
from refilm.video.planes import picture_of, planes_of


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuv410p", "gbrp16le", "gray"])
def test_samples_survive_rows_that_pyav_pads(name):
    fmt, rng = held_format(name), np.random.default_rng(0)
    planes = [rng.integers(0, 1 << fmt.bits, shape).astype(fmt.dtype) for shape in fmt.plane_shapes(7, 37)]
    picture = picture_of(planes, fmt)
    assert (picture.width, picture.height, picture.format.name) == (37, 7, name)
    assert picture.planes[0].line_size > 37 * planes[0].itemsize
    for again, plane in zip(planes_of(picture, fmt), planes, strict=True):
        np.testing.assert_array_equal(again, plane)
