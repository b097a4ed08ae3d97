import numpy as np
import pytest

from refilm.video.pixel_format import YUV420P
from refilm.video.recompress import recompressed


def flat(level):
    return tuple(np.full(shape, level, np.uint8) for shape in YUV420P.plane_shapes(64, 96))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_pictures_come_back_in_their_order(codec):
    levels = [60, 90, 120, 150, 180]
    back = list(recompressed([flat(level) for level in levels], codec, 20))
    assert [[plane.shape for plane in planes] for planes in back] == [YUV420P.plane_shapes(64, 96)] * 5
    np.testing.assert_allclose([planes[0].mean() for planes in back], levels, atol=2)


def test_another_codec_is_refused():
    with pytest.raises(ValueError, match="codec must be h264, hevc, h264-intra or jpeg2000, got 'vp9'"):
        list(recompressed([flat(60)], "vp9", 30))
