"""Noise of known strength is found, and neither texture, drawings nor black bars are taken for it."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from refilm.layers.damage import LARGEST, measure_noise


def rounded(picture):
    return picture.clamp(0, 1).mul(255).round() / 255


def scene(height=192, width=256, seed=0):
    """Slopes on the left, and on the right a texture as strong as noise of sigma 20, of all scales."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    picture = torch.stack([0.3 + 0.3 * x, 0.4 + 0.2 * y, 0.5 - 0.2 * x * y])
    texture = torch.zeros(height, width)
    for size in (1, 2, 4, 8):
        coarse = torch.randn(1, 1, height // size + 1, width // size + 1, generator=generator)
        texture += F.interpolate(coarse, scale_factor=size, mode="bicubic")[0, 0, :height, :width] / 2
    picture[..., width // 2 :] += 20 / 255 * texture[..., width // 2 :]
    return picture


def with_noise(picture, sigma, on_luma, seed=1):
    shape = (1, *picture.shape[1:]) if on_luma else picture.shape
    return rounded(picture + sigma / 255 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0, 10.0, 25.0])
@pytest.mark.parametrize("on_luma", [True, False], ids=["grain on luma", "white on RGB"])
def test_known_noise_is_found_beside_texture(sigma, on_luma):
    assert measure_noise(with_noise(scene(), sigma, on_luma)).level == pytest.approx(sigma, rel=0.12)


@pytest.mark.parametrize("sigma", [2.0, 25.0])
def test_noise_on_luma_is_told_from_white_noise_on_rgb(sigma):
    assert measure_noise(with_noise(scene(), sigma, on_luma=True)).shared > 0.9
    assert measure_noise(with_noise(scene(), sigma, on_luma=False)).shared < 0.1


def test_a_clean_picture_has_none():
    assert measure_noise(rounded(scene())).level < 0.5


def test_drawings_and_screens_have_none():
    page = torch.full((3, 160, 240), 0.95)
    page[:, 20:140:6, 20:220:3] = 0.1  # like lettering
    flat = torch.zeros(3, 160, 240)
    for number, level in enumerate((0.2, 0.5, 0.8)):
        flat[number, :, 80 * number :] = level
    assert measure_noise(page).level == measure_noise(flat).level == 0.0


def test_black_bars_do_not_hide_noise():
    film = torch.zeros(3, 256, 256)
    film[:, 40:-40] = with_noise(scene(176, 256), 8.0, on_luma=True)
    assert measure_noise(film).level == pytest.approx(8, rel=0.15)


def test_texture_at_rest_is_told_from_noise_by_the_picture_before():
    texture = 0.5 + 12 / 255 * torch.randn(3, 192, 256, generator=torch.Generator().manual_seed(3))
    before, now = (with_noise(texture, 3.0, False, seed) for seed in (1, 2))
    assert measure_noise(now).level > 10
    assert measure_noise(now, before).level == pytest.approx(3, rel=0.12)
    assert measure_noise(now, now).level > 10, "a repeated picture says nothing"


def test_a_large_picture_is_measured_on_a_part_of_it():
    side = math.isqrt(LARGEST) + 300
    assert measure_noise(with_noise(torch.full((3, side, side), 0.5), 6.0, True)).level == pytest.approx(6, rel=0.1)


def test_pictures_too_small_or_too_dark_say_nothing():
    assert measure_noise(torch.rand(3, 20, 20)).level == 0.0
    assert measure_noise(torch.zeros(3, 128, 128)).level == 0.0
