"""Colour conversion: the identity law, the standards' colours, FFmpeg's opinion."""

import shutil
import subprocess
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refilm.errors import VideoError
from refilm.video.colour import Colour
from refilm.video.frame import Frame
from refilm.video.pixel_format import PixelFormat
from refilm.video.rgb import LUMA_WEIGHTS, from_rgb, to_rgb

SUBSAMPLINGS = {"444": (0, 0), "422": (1, 0), "440": (0, 1), "420": (1, 1), "411": (2, 0), "410": (2, 2)}
LOCATIONS = ["left", "center", "topleft", "top"]

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg binary is not installed")


def yuv(bits=8, subsampling="444"):
    depth = "" if bits == 8 else f"{bits}le"
    return PixelFormat(f"yuv{subsampling}p{depth}", "yuv", bits, *SUBSAMPLINGS[subsampling])


def frame_of(planes, fmt, colour=Colour()):  # noqa: B008  immutable
    return Frame(tuple(planes), fmt, colour, Fraction(0), Fraction(1, 24))


def random_frame(height, width, fmt, colour, seed=0):
    """Any codes at all: most of them are colours that no RGB cube holds."""
    rng = np.random.default_rng(seed)
    shapes = fmt.plane_shapes(height, width)
    return frame_of((rng.integers(0, 1 << fmt.bits, shape).astype(fmt.dtype) for shape in shapes), fmt, colour)


def rgb_of(frame):
    return to_rgb(frame.planes, frame.format, frame.colour)


def assert_same_planes(planes, expected):
    assert len(planes) == len(expected)
    for plane, wanted in zip(planes, expected, strict=True):
        assert plane.dtype == wanted.dtype
        np.testing.assert_array_equal(plane, wanted)


formats = st.one_of(
    st.builds(yuv, st.integers(8, 16), st.sampled_from(list(SUBSAMPLINGS))),
    st.builds(lambda bits: PixelFormat("gbrp", "rgb", bits), st.integers(8, 16)),
    st.builds(lambda bits: PixelFormat("gray", "gray", bits), st.integers(8, 16)),
)
colours = st.builds(
    Colour,
    matrix=st.sampled_from(list(LUMA_WEIGHTS)),
    range=st.sampled_from(["tv", "pc"]),
    chroma_location=st.sampled_from(LOCATIONS),
)


@settings(max_examples=300, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), fmt=formats, colour=colours, seed=st.integers(0, 2**32 - 1))
def test_there_and_back_is_the_identity_on_every_sample(height, width, fmt, colour, seed):
    frame = random_frame(height, width, fmt, colour, seed)
    rgb = frame.rgb
    assert rgb.shape == (3, height, width)
    assert rgb.dtype == torch.float32
    assert_same_planes(frame.with_rgb(rgb).planes, frame.planes)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("location", LOCATIONS)
def test_the_identity_holds_at_video_size_and_16_bits(subsampling, location):
    frame = random_frame(361, 641, yuv(16, subsampling), Colour(range="pc", chroma_location=location))
    assert_same_planes(frame.with_rgb(frame.rgb).planes, frame.planes)


def test_planes_may_be_padded_and_read_only():
    frame = random_frame(6, 10, yuv(10, "420"), Colour())
    padded = [np.pad(plane, ((0, 0), (0, 7)))[:, : plane.shape[1]] for plane in frame.planes]
    for plane in padded:
        plane.flags.writeable = False
    assert_same_planes(frame.with_rgb(frame_of(padded, frame.format).rgb).planes, frame.planes)


def codes(rgb, matrix, range_, bits):
    """A colour's codes before rounding, as BT.601, BT.709 and BT.2020 write them: the oracle, one sample at a time."""
    k_r, k_b = {"smpte170m": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}[matrix]
    r, g, b = rgb
    y = k_r * r + (1 - k_r - k_b) * g + k_b * b
    cb, cr = (b - y) / (2 - 2 * k_b), (r - y) / (2 - 2 * k_r)
    if range_ == "tv":
        scale = 2 ** (bits - 8)
        return [(219 * y + 16) * scale, (224 * cb + 128) * scale, (224 * cr + 128) * scale]
    top, middle = 2**bits - 1, 2 ** (bits - 1)
    return [min(top, value) for value in (top * y, top * cb + middle, top * cr + middle)]


PURE = {
    "white": (1, 1, 1), "black": (0, 0, 0), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1),
    "yellow": (1, 1, 0), "cyan": (0, 1, 1), "magenta": (1, 0, 1),
}  # fmt: skip


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("range_", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["smpte170m", "bt709", "bt2020nc"])
@pytest.mark.parametrize("name", PURE)
def test_pure_colours_have_the_codes_of_the_standards(name, matrix, range_, bits):
    fmt, colour = yuv(bits), Colour(matrix=matrix, range=range_)
    rgb = torch.tensor(PURE[name], dtype=torch.float32)[:, None, None].expand(3, 2, 2)
    expected = codes(PURE[name], matrix, range_, bits)
    planes = from_rgb(rgb, fmt, colour)
    # full-range blue is a tie: Cb = 0.5 is halfway between two codes
    assert [int(plane[0, 0]) for plane in planes] == pytest.approx(expected, abs=0.501)
    # 1/2 code each of Y, Cb and Cr is at most 2.8 codes of a primary
    torch.testing.assert_close(frame_of(planes, fmt, colour).rgb, rgb, rtol=0, atol=2.8 / (219 << (bits - 8)))


def test_bt709_red_in_8_bit_limited_range_is_the_textbooks():
    planes = from_rgb(torch.tensor([1.0, 0.0, 0.0])[:, None, None], yuv(), Colour(matrix="bt709", range="tv"))
    assert [int(plane[0, 0]) for plane in planes] == [63, 102, 240]


def test_gray_is_luma_and_rgb_planes_are_in_ffmpegs_order():
    rgb = torch.tensor([1.0, 0.5, 0.0])[:, None, None]
    full = Colour(matrix="rgb", range="pc")
    assert [int(plane[0, 0]) for plane in from_rgb(rgb, PixelFormat("gbrp", "rgb", 8), full)] == [128, 0, 255]
    gray = from_rgb(rgb, PixelFormat("gray", "gray", 8), full)
    assert [int(plane[0, 0]) for plane in gray] == [round(255 * (0.2126 + 0.5 * 0.7152))]


@pytest.mark.parametrize("range_", ["tv", "pc"])
@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_a_constant_colour_stays_constant(subsampling, location, range_):
    fmt, colour = yuv(8, subsampling), Colour(range=range_, chroma_location=location)
    rgb = torch.tensor([0.8, 0.3, 0.1])[:, None, None].expand(3, 9, 13)
    planes = from_rgb(rgb, fmt, colour)
    for plane in planes:
        assert np.ptp(plane) == 0
    again = frame_of(planes, fmt, colour).rgb
    torch.testing.assert_close(again, again[:, :1, :1].expand_as(again), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("location", "across", "down"),
    [("left", 0.0, 0.5), ("center", 0.5, 0.5), ("topleft", 0.0, 0.0), ("top", 0.5, 0.0)],
)
def test_a_chroma_ramp_lands_where_its_samples_are_sited(location, across, down):
    """Chroma sample k sits at luma position 2k + site: a ramp of slope 2 a sample has slope 1 a pixel through there."""
    for axis, site in ((1, across), (0, down)):
        ramp = np.broadcast_to(np.expand_dims(100 + 2 * np.arange(12, dtype=np.uint8), 1 - axis), (12, 12))
        neutral = np.full((12, 12), 128, np.uint8)
        colour = Colour(range="pc", chroma_location=location)
        rgb = frame_of([np.full((24, 24), 128, np.uint8), neutral, ramp], yuv(8, "420"), colour).rgb
        cr = (rgb[0] - 128 / 255) / (2 - 2 * 0.2126) * 255 + 128
        positions = torch.arange(2, 22, dtype=torch.float32)
        expected = 100 + positions - site
        found = cr[12, 2:22] if axis == 1 else cr[2:22, 12]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        # and a picture's ramp is sampled at the same places
        planes = from_rgb(rgb, yuv(8, "420"), colour)
        np.testing.assert_array_equal(planes[2], ramp)


def test_unsupported_colours_say_what_to_do():
    for matrix in ("bt2020c", "ictcp", "ycgco", "rgb"):
        frame = random_frame(4, 4, yuv(), Colour(matrix=matrix))
        with pytest.raises(VideoError, match=rf"colour matrix {matrix} is not supported .* zscale=matrix=bt709"):
            rgb_of(frame)
        with pytest.raises(VideoError, match=f"colour matrix {matrix} is not supported"):
            frame.with_rgb(torch.zeros(3, 4, 4))
    with pytest.raises(VideoError, match="chroma location bottomleft is not supported"):
        rgb_of(random_frame(4, 4, yuv(8, "420"), Colour(chroma_location="bottomleft")))
    rgb_of(random_frame(4, 4, yuv(8, "444"), Colour(chroma_location="bottomleft")))  # nothing is subsampled
    with pytest.raises(VideoError, match="colour range must be tv or pc, got limited"):
        rgb_of(random_frame(4, 4, yuv(), Colour(range="limited")))
    with pytest.raises(ValueError, match=r"rgb must be \[3, H, W\], got \[1, 3, 4, 4\]"):
        from_rgb(torch.zeros(1, 3, 4, 4), yuv(), Colour())


def through_ffmpeg(frame, filters, pix_fmt, dtype):
    """What ffmpeg's filters make of a frame's planes: [3, H, W], R, G, B."""
    size = f"{frame.width}x{frame.height}"
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", frame.format.name, "-s", size, "-i", "-"]
    command += ["-vf", filters, "-pix_fmt", pix_fmt, "-f", "rawvideo", "-"]
    raw = b"".join(np.ascontiguousarray(plane).tobytes() for plane in frame.planes)
    result = subprocess.run(command, input=raw, capture_output=True, check=False)
    if b"No such filter" in result.stderr:
        pytest.skip("this ffmpeg has no zscale")
    assert result.returncode == 0, result.stderr.decode()
    green, blue, red = np.frombuffer(result.stdout, dtype).reshape(3, frame.height, frame.width)
    return torch.from_numpy(np.stack((red, green, blue)).astype(np.float32))


ZSCALE_MATRIX = {"bt709": "709", "smpte170m": "170m", "bt470bg": "470bg", "bt2020nc": "2020_ncl", "fcc": "fcc"}


@needs_ffmpeg
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("range_", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ZSCALE_MATRIX)
def test_agrees_with_zscale_in_floating_point(matrix, range_, bits):
    frame = random_frame(32, 48, yuv(bits), Colour(matrix=matrix, range=range_))
    filters = f"zscale=matrixin={ZSCALE_MATRIX[matrix]}:rangein={range_}:matrix=gbr:range=pc,format=gbrpf32le"
    torch.testing.assert_close(frame.rgb, through_ffmpeg(frame, filters, "gbrpf32le", "<f4"), rtol=0, atol=1e-5)


@needs_ffmpeg
@pytest.mark.parametrize("location", ["left", "center", "topleft"])
@pytest.mark.parametrize("subsampling", ["420", "422"])
def test_agrees_with_zscale_on_where_chroma_lies(subsampling, location):
    frame = random_frame(32, 48, yuv(8, subsampling), Colour(chroma_location=location))
    filters = (
        f"zscale=matrixin=709:rangein=tv:chromalin={location}:matrix=gbr:range=pc:filter=bilinear,format=gbrpf32le"
    )
    found, wanted = frame.rgb, through_ffmpeg(frame, filters, "gbrpf32le", "<f4")
    torch.testing.assert_close(found[:, 2:-2, 2:-2], wanted[:, 2:-2, 2:-2], rtol=0, atol=1e-5)


@needs_ffmpeg
@pytest.mark.parametrize("range_", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["bt709", "bt601", "bt2020"])
def test_agrees_with_swscale_to_a_code(matrix, range_):
    colour = Colour(matrix={"bt601": "smpte170m", "bt2020": "bt2020nc"}.get(matrix, matrix), range=range_)
    rgb = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))
    frame = frame_of(from_rgb(rgb, yuv(), colour), yuv(), colour)
    out_range = "out_range=pc:flags=accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
    swscale = through_ffmpeg(frame, f"scale=in_color_matrix={matrix}:in_range={range_}:{out_range}", "gbrp", np.uint8)
    assert (frame.rgb.clamp(0, 1) * 255 - swscale).abs().max() <= 1.5
