import numpy as np
import pytest

from refilm.errors import VideoError
from refilm.video.key_pictures import AV1, HEVC, best_for, crf_for, decode_picture, encode_picture, format_for
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
    planes, intra = drawn(held, *size), best_for(held, *size)
    back = decode_picture(encode_picture(planes, held, 10, intra), held, *size, intra)
    for plane, other in zip(planes, back, strict=True):
        assert plane.shape == other.shape
        assert plane.dtype == other.dtype
        assert np.abs(plane.astype(int) - other).mean() < 3 * 2 ** (held.bits - 8)


BOTH = pytest.mark.parametrize("intra", [HEVC, AV1], ids=["hevc", "av1"])


@BOTH
def test_the_same_picture_gives_the_same_bytes_and_fewer_at_a_higher_crf(intra):
    held = held_format("yuv420p")
    planes = drawn(held, 96, 128)
    fine, coarse = encode_picture(planes, held, 15, intra), encode_picture(planes, held, 40, intra)
    assert fine == encode_picture(planes, held, 15, intra)
    assert len(coarse) < len(fine)


def test_a_format_that_hevc_has_not_is_exchanged_for_one_that_loses_least():
    assert format_for(held_format("yuv420p")).name == "yuv420p"
    other = format_for(PixelFormat("yuv411p", "yuv", 8, 2, 0))
    assert (other.kind, other.bits) == ("yuv", 8)
    assert other.chroma_w <= 2
    assert other.chroma_h == 0


@pytest.mark.parametrize(
    ("name", "height", "width", "intra"),
    [
        ("yuv420p", 1080, 1920, AV1),
        ("yuv420p10le", 16, 16, AV1),
        ("yuv444p", 1080, 1920, HEVC),
        ("gbrp", 1080, 1920, HEVC),
        ("yuv420p", 9000, 1920, HEVC),
    ],
)
def test_av1_codes_what_its_encoder_takes_and_hevc_the_rest(name, height, width, intra):
    assert best_for(held_format(name), height, width) is intra


@BOTH
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"nonsense", lambda data: data[:40]])
def test_what_is_no_picture_is_told(damage, intra):
    held = held_format("yuv420p")
    data = encode_picture(drawn(held, 64, 64), held, 20, intra)
    with pytest.raises(VideoError, match="key picture is damaged"):
        decode_picture(damage(data), held, 64, 64, intra)
    with pytest.raises(VideoError, match="key picture is damaged"):
        decode_picture(data, held, 640, 64, intra)


def test_a_better_trade_off_is_a_lower_crf_by_three_for_each_doubling():
    assert crf_for(512) == pytest.approx(crf_for(1024) + 3)
