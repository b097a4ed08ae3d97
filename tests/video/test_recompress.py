import cv2
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


def test_a_scene_longer_than_the_lookahead_of_x264_comes_back_the_same_each_time():
    noise = np.random.default_rng(0).integers(0, 256, (180, 320 + 96), np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 3)
    gray = [np.full(shape, 128, np.uint8) for shape in YUV420P.plane_shapes(180, 320)[1:]]
    scene = [(np.ascontiguousarray(texture[:, 2 * n : 2 * n + 320]), *gray) for n in range(48)]
    results = {b"".join(planes[0].tobytes() for planes in recompressed(scene, "h264", 30)) for _ in range(6)}
    assert len(results) == 1


def test_another_codec_is_refused():
    with pytest.raises(ValueError, match="codec must be h264, hevc, h264-intra, mpeg2, mpeg4 or jpeg2000, got 'vp9'"):
        list(recompressed([flat(60)], "vp9", 30))
