import numpy as np
import pytest

from refilm.errors import VideoError
from refilm.video.hevc_pictures import crf_for, decode_picture, encode_picture, format_for
from refilm.video.pixel_format import PixelFormat, held_format


def drawn(held, height, width):
    """Smooth planes of a format."""
    codes = 2**held.bits
    return tuple(
        (codes * (0.3 + 0.2 * np.sin(np.add.outer(np.arange(rows) / 9, np.arange(columns) / 7)))).astype(held.dtype)
        for rows, columns in held.plane_shapes(height, width)
    )


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p", "yuv420p10le", "gbrp", "gray"])
@pytest.mark.parametrize("size", [(72, 96), (33, 17), (1, 1)])
def test_pictures_of_any_format_and_size_come_back_about_as_they_were(name, size):
    held = held_format(name)
    planes = drawn(held, *size)
    back = decode_picture(encode_picture(planes, held, 10), held, *size)
    for plane, other in zip(planes, back, strict=True):
        assert plane.shape == other.shape
        assert plane.dtype == other.dtype
        assert np.abs(plane.astype(int) - other).mean() < 3 * 2 ** (held.bits - 8)


def test_the_same_picture_gives_the_same_bytes_and_fewer_at_a_higher_crf():
    held = held_format("yuv420p")
    planes = drawn(held, 96, 128)
    fine, coarse = encode_picture(planes, held, 15), encode_picture(planes, held, 40)
    assert fine == encode_picture(planes, held, 15)
    assert len(coarse) < len(fine)


def test_a_format_that_hevc_has_not_is_exchanged_for_one_that_loses_least():
    assert format_for(held_format("yuv420p")).name == "yuv420p"
    other = format_for(PixelFormat("yuv411p", "yuv", 8, 2, 0))
    assert (other.kind, other.bits) == ("yuv", 8)
    assert other.chroma_w <= 2
    assert other.chroma_h == 0


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"nonsense", lambda data: data[:40]])
def test_what_is_no_picture_is_told(damage):
    held = held_format("yuv420p")
    data = encode_picture(drawn(held, 64, 64), held, 20)
    with pytest.raises(VideoError, match="key picture is damaged"):
        decode_picture(damage(data), held, 64, 64)
    with pytest.raises(VideoError, match="key picture is damaged"):
        decode_picture(data, held, 640, 64)


def test_a_better_trade_off_is_a_lower_crf_by_three_for_each_doubling():
    assert crf_for(512) == pytest.approx(crf_for(1024) + 3)
