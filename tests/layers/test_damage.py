"""Noise of known strength is found, and neither texture, drawings nor black bars are taken for it."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from refilm.layers.damage import FIGURES, LARGEST, coding_figures, noise_level


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
    assert noise_level(with_noise(scene(), sigma, on_luma)) == pytest.approx(sigma, rel=0.12)


def test_a_clean_picture_has_none():
    assert noise_level(rounded(scene())) < 0.5


def test_drawings_and_screens_have_none():
    page = torch.full((3, 160, 240), 0.95)
    page[:, 20:140:6, 20:220:3] = 0.1  # like lettering
    flat = torch.zeros(3, 160, 240)
    for number, level in enumerate((0.2, 0.5, 0.8)):
        flat[number, :, 80 * number :] = level
    assert noise_level(page) == noise_level(flat) == 0.0


def test_black_bars_do_not_hide_noise():
    film = torch.zeros(3, 256, 256)
    film[:, 40:-40] = with_noise(scene(176, 256), 8.0, on_luma=True)
    assert noise_level(film) == pytest.approx(8, rel=0.15)


def test_texture_at_rest_is_told_from_noise_by_the_picture_before():
    texture = 0.5 + 12 / 255 * torch.randn(3, 192, 256, generator=torch.Generator().manual_seed(3))
    before, now = (with_noise(texture, 3.0, False, seed) for seed in (1, 2))
    assert noise_level(now) > 10
    assert noise_level(now, before) == pytest.approx(3, rel=0.12)
    assert noise_level(now, now) > 10, "a repeated picture says nothing"


def test_a_large_picture_is_measured_on_a_part_of_it():
    side = math.isqrt(LARGEST) + 300
    assert noise_level(with_noise(torch.full((3, side, side), 0.5), 6.0, True)) == pytest.approx(6, rel=0.1)


def test_pictures_too_small_or_too_dark_say_nothing():
    assert noise_level(torch.rand(3, 20, 20)) == 0.0
    assert noise_level(torch.zeros(3, 128, 128)) == 0.0


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (200, 260), (1200, 1000)])
def test_figures_are_finite_for_every_size_and_content(size):
    for picture in (torch.zeros(3, *size), torch.rand(3, *size), torch.linspace(0, 1, size[1]).expand(3, *size)):
        figures = coding_figures(picture)
        assert figures.shape == (FIGURES,)
        assert figures.isfinite().all()
