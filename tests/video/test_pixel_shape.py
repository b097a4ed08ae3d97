"""The shape of pixels in Matroska, by what ffprobe finds, and that nothing else of a file changes."""

import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from media import ffprobe, packet_hashes

from refilm.errors import VideoError
from refilm.video.pixel_shape import write_pixel_shape


def film(path, codec="ffv1", container="matroska", width=96, height=64, options=None):
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        output.metadata["title"] = "A film"
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for value in range(3):
            picture = av.VideoFrame.from_ndarray(np.full((height * 3 // 2, width), 60 * value, np.uint8), "yuv420p")
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def shown(path):
    """(shape of pixels, all else that ffprobe knows of the file)"""
    found = ffprobe(path, "-show_streams", "-show_format", "-show_chapters")
    stream = found["streams"][0]
    aspect = stream.pop("sample_aspect_ratio", None)
    stream.pop("display_aspect_ratio", None)
    return aspect, found


@pytest.mark.parametrize("options", [{}, {"write_crc32": "0"}])
@pytest.mark.parametrize("shape", [Fraction(4, 3), Fraction(10, 11), Fraction(3, 4), Fraction(59, 54), Fraction(40)])
def test_players_are_told_the_exact_shape_and_nothing_else_changes(tmp_path, shape, options):
    path = film(tmp_path / "film.mkv", options=options)
    (_, before), packets, size = shown(path), packet_hashes(path, "v:0"), path.stat().st_size
    write_pixel_shape(path, 96, 64, shape)
    aspect, after = shown(path)
    assert aspect == f"{shape.numerator}:{shape.denominator}"
    assert after == before
    assert packet_hashes(path, "v:0") == packets
    assert path.stat().st_size == size


def test_it_can_be_said_again(tmp_path):
    path = film(tmp_path / "film.webm", "libvpx-vp9", "webm")
    for shape in (Fraction(4, 3), Fraction(10, 11)):
        write_pixel_shape(path, 96, 64, shape)
        assert shown(path)[0] == f"{shape.numerator}:{shape.denominator}"


@pytest.mark.parametrize("number", [b"\x11\x4d\x9b\x74", b"\x16\x54\xae\x6b"], ids=["SeekHead", "Tracks"])
def test_the_checksums_of_what_was_changed_are_those_of_the_content(tmp_path, number):
    path = film(tmp_path / "film.mkv")
    write_pixel_shape(path, 96, 64, Fraction(4, 3))
    content = path.read_bytes()
    at = content.rindex(number, 0, content.index(b"\x1f\x43\xb6\x75")) + 4  # before the first Cluster
    count = 9 - content[at].bit_length()  # bytes of the length
    size = int.from_bytes(content[at : at + count], "big") - (1 << 7 * count)
    found = content[at + count : at + count + size]
    assert found[:2] == b"\xbf\x84", "the element CRC-32"
    assert int.from_bytes(found[2:6], "little") == zlib.crc32(found[6:])


@pytest.mark.parametrize("content", [b"", b"something else", bytes(100)])
def test_other_files_are_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "other.mkv"
    path.write_bytes(content)
    with pytest.raises(VideoError, match="could not be written"):
        write_pixel_shape(path, 96, 64, Fraction(4, 3))
    assert path.read_bytes() == content
