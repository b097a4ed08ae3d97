"""Degradations against their definitions: statistics, sums by hand, FFmpeg's own command."""

import math
import shutil
import subprocess

import pytest
import torch
from torch.nn import functional as F

from refilm.data.degradations import (
    _resize,
    bicubic_down,
    bicubic_up,
    compress,
    film_noise,
    gaussian_down,
    gaussian_noise,
    motion_blur,
    real_small,
    small_and_enlarged,
)
from refilm.errors import RefilmError
from refilm.video import Colour
from refilm.video.pixel_format import YUV420P
from refilm.video.rgb import from_rgb

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg command on this machine")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def panning(frames=6, height=48, width=64):
    """[T, 3, H, W] bytes, away from black and white: smooth noise that moves to the left, two pixels a frame."""
    coarse = torch.rand(1, 3, height // 8, (width + 2 * frames) // 8, generator=seeded())
    scene = F.interpolate(coarse, (height, width + 2 * frames), mode="bicubic")[0].mul(150).add(50).byte()
    return torch.stack([scene[:, :, 2 * t : 2 * t + width] for t in range(frames)])


def test_noise_has_its_sigma_no_bias_and_no_limits():
    clip = torch.full((3, 4, 100, 100), 0.99)
    noise = (gaussian_noise(clip, 25, seeded()) - clip) * 255
    assert noise.std() == pytest.approx(25, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.3)
    assert gaussian_noise(clip, 25, seeded()).max() > 1


def test_the_seed_decides_the_noise():
    clip = torch.rand(2, 3, 8, 8, generator=seeded())
    torch.testing.assert_close(gaussian_noise(clip, 15, seeded(3)), gaussian_noise(clip, 15, seeded(3)))
    assert not torch.equal(gaussian_noise(clip, 15, seeded(3)), gaussian_noise(clip, 15, seeded(4)))


def test_each_clip_of_a_batch_may_have_its_own_noise():
    sigma = torch.tensor([0.0, 50.0]).view(2, 1, 1, 1)
    noise = gaussian_noise(torch.zeros(2, 3, 64, 64), sigma, seeded()) * 255
    assert noise[0].abs().max() == 0
    assert noise[1].std() == pytest.approx(50, rel=0.02)


def test_the_noise_of_a_film_is_white_on_luma_and_coarse_on_chroma():
    clip = torch.full((2, 3, 4, 128, 128), 0.5)
    noise = (film_noise(clip, 20, seeded()) - clip) * 255
    red, green, blue = noise.unbind(1)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert luma.std() == pytest.approx(20, rel=0.02)
    for plane, likeness in ((luma, 0), (red - luma, 0.8), (blue - luma, 0.8)):
        beside = torch.corrcoef(torch.stack((plane[..., 1:].flatten(), plane[..., :-1].flatten())))[0, 1]
        assert beside == pytest.approx(likeness, abs=0.1)
        assert plane.mean() == pytest.approx(0, abs=0.3)
    levels = film_noise(clip, 100, seeded()) * 255
    assert levels.min() == 0
    assert levels.max() == 255
    torch.testing.assert_close(levels, levels.round())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_pytorchs_antialiased_away_from_the_border(scale):
    frames = torch.rand(2, 3, 48, 60, generator=seeded())
    expected = F.interpolate(frames, scale_factor=1 / scale, mode="bicubic", antialias=True)
    inside = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(bicubic_down(frames, scale)[inside], expected[inside], rtol=0, atol=1e-5)
    expected = F.interpolate(frames, scale_factor=scale, mode="bicubic", antialias=True)
    inside = (..., slice(2 * scale, -2 * scale), slice(2 * scale, -2 * scale))
    torch.testing.assert_close(bicubic_up(frames, scale)[inside], expected[inside], rtol=0, atol=1e-5)


def test_small_and_enlarged_is_a_reduction_and_an_enlargement_in_8_bit():
    frames = torch.randint(0, 256, (2, 3, 16, 24), dtype=torch.uint8)
    small = bicubic_down(frames.float() / 255).clamp(0, 1).mul(255).round() / 255
    expected = bicubic_up(small).clamp(0, 1).mul(255)
    torch.testing.assert_close(small_and_enlarged(frames, 4, 6).float(), expected, atol=0.501, rtol=0)
    assert torch.equal(small_and_enlarged(frames, 40, 60), frames), "a film that is larger loses nothing"
    assert small_and_enlarged(frames, 5, 7).shape == frames.shape


def test_bicubic_mirrors_at_the_border_as_matlab_does():
    # the border pixel comes first in the mirror image, so a picture and its mirror image are one periodic picture
    row = torch.rand(1, 24, generator=seeded(), dtype=torch.float64)
    frame = torch.cat((row.flip(1), row, row.flip(1)), 1).expand(24, 72)
    torch.testing.assert_close(bicubic_down(frame)[:, 6:12], bicubic_down(row.expand(24, 24)))


def test_one_sample_of_bicubic_down_by_hand():
    """An impulse at x = 9 of 16, halved: the weights of Keys' cubic at (9 - (2k + 0.5)) / 2, over 2."""

    def cubic(x):
        x = abs(x)
        return 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    frame = torch.zeros(16, 16)
    frame[:, 9] = 1
    expected = [cubic((9 - (2 * k + 0.5)) / 2) / 2 for k in range(2, 7)]
    torch.testing.assert_close(bicubic_down(frame, 2)[4, 2:7], torch.tensor(expected), rtol=0, atol=1e-6)


def test_lanczos_has_three_lobes_and_its_weights_sum_to_one():
    """As above, for the windowed sinc, whose weights are then divided by their sum."""

    def lanczos(x):
        return float(torch.sinc(torch.tensor(x)) * torch.sinc(torch.tensor(x / 3))) if abs(x) < 3 else 0.0

    frame = torch.zeros(32, 32)
    frame[:, 17] = 1
    weights = torch.tensor([lanczos((17 - (2 * k + 0.5)) / 2) for k in range(16)])
    whole = sum(lanczos((n - 0.5) / 2) for n in range(-6, 8))
    torch.testing.assert_close(_resize(frame, 16, 16, "lanczos")[8], weights / whole, rtol=0, atol=1e-6)


def test_gaussian_down_is_the_weighted_sum_around_the_first_pixel_of_four():
    frame = torch.rand(32, 40, generator=seeded(), dtype=torch.float64)
    taps = torch.tensor([math.exp(-(k**2) / (2 * 1.6**2)) for k in range(-6, 7)], dtype=torch.float64)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    small = gaussian_down(frame)
    assert small.shape == (8, 10)
    expected = (frame[12 - 6 : 12 + 7, 20 - 6 : 20 + 7] * kernel).sum()
    torch.testing.assert_close(small[3, 5], expected)
    # reflected, the border itself not doubled
    torch.testing.assert_close(small[0, 5], (frame[[6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6], 14:27] * kernel).sum())


@pytest.mark.parametrize("resize", [bicubic_down, bicubic_up, gaussian_down])
def test_resizing_keeps_a_flat_clip_flat(resize):
    clip = resize(torch.full((1, 3, 2, 16, 24), 0.3))
    torch.testing.assert_close(clip, torch.full_like(clip, 0.3))


def test_motion_blur_averages_light_not_codes():
    clip = torch.zeros(1, 5, 4, 4)
    clip[:, 2] = 1
    blurred = motion_blur(clip, 3)
    assert blurred.shape == (1, 3, 4, 4)
    torch.testing.assert_close(blurred, torch.full_like(blurred, (1 / 3) ** (1 / 2.2)))


CODECS = {"h264": (20, 40), "hevc": (20, 40), "mpeg2": (4, 16), "mpeg4": (4, 16)}


@pytest.mark.parametrize("codec", [*CODECS, pytest.param("jpeg2000", marks=needs_ffmpeg)])
def test_compressed_clips_keep_count_order_and_mean_and_get_worse_with_quality(codec):
    clip = panning(9, 45, 63)
    better, worse = (compress(clip, codec, quality) for quality in CODECS.get(codec, (20, 40)))
    assert better.shape == worse.shape == clip.shape

    def error(result):
        return (result.float() - clip).square().mean()

    assert 0 < error(better) < error(worse)
    assert (better.float() - clip).mean().abs() < 0.3
    for t, frame in enumerate(better):
        assert int((clip.float() - frame).square().mean((1, 2, 3)).argmin()) == t


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_clips_can_be_compressed(frames):
    assert compress(panning(frames), "h264", 30).shape == (frames, 3, 48, 64)


def test_compression_is_the_same_each_time():
    assert torch.equal(compress(panning(), "h264", 37), compress(panning(), "h264", 37))


def test_small_films_are_what_the_large_ones_show_in_many_ways():
    clip = panning(17, 128, 192)[::4]
    small = [real_small(clip, 4, seeded(seed)) for seed in range(12)]
    area = F.avg_pool2d(clip.float(), 4)
    assert torch.equal(small[3], real_small(clip, 4, seeded(3)))
    assert len({frames.numpy().tobytes() for frames in small}) == 12
    for frames in small:
        assert frames.shape == (5, 3, 32, 48)
        assert frames.dtype == torch.uint8
        assert (frames - area).mean((0, 2, 3)).abs().max() < 3  # the colours stay
        for t, frame in enumerate(frames):
            assert int((area - frame).square().mean((1, 2, 3)).argmin()) == t


@needs_ffmpeg
def test_h264_is_what_ffmpegs_command_gives(tmp_path):
    clip = panning(12)
    yuv = [from_rgb(f.float() / 255, YUV420P, Colour()) for f in clip]
    (tmp_path / "in.yuv").write_bytes(b"".join(p.tobytes() for planes in yuv for p in planes))
    raw = ["-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", "64x48"]
    encode = ["-c:v", "libx264", "-crf", "37", "-threads", "1", tmp_path / "c.mp4"]
    subprocess.run(["ffmpeg", "-v", "error", *raw, "-i", tmp_path / "in.yuv", *encode], check=True)
    decode = ["-f", "rawvideo", "-"]
    said = subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "c.mp4", *decode], capture_output=True, check=True)
    luma = torch.frombuffer(bytearray(said.stdout), dtype=torch.uint8).view(12, 72, 64)[:, :48].float()
    ours = compress(clip, "h264", 37).float()
    weights = torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)
    # another release of x264 may decide differently here and there
    assert ((ours * weights).sum(1) * 219 / 255 + 16 - luma).abs().mean() < 1


def test_bad_degradations_are_named(monkeypatch):
    with pytest.raises(ValueError, match=r"multiples of 4, got 30x32; crop the frames first"):
        bicubic_down(torch.zeros(3, 30, 32))
    with pytest.raises(ValueError, match="exposure must be odd and at most the clip's 5 frames, got 4"):
        motion_blur(torch.zeros(3, 5, 8, 8), 4)
    with pytest.raises(ValueError, match="codec must be h264, hevc, h264-intra, mpeg2, mpeg4 or jpeg2000, got 'vp9'"):
        compress(panning(1), "vp9", 30)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RefilmError, match=r"the command ffmpeg is not installed.*install ffmpeg"):
        compress(panning(1), "jpeg2000", 20)
