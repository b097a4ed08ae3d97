from __future__ import annotations

from pathlib import Path

import pytest
import torch

from refilm.data.degradations import compress
from refilm.data.pack import read_clip
from refilm.models.coding_damage import coding_damage

BIKES = Path(__file__).parents[2] / "examples" / "bikes.mp4"


def clean_film():
    """At half the size, what its own encoding did to it is gone. [3, 3, H, W], uint8"""
    small = torch.nn.functional.interpolate(
        read_clip(BIKES)[:3].float(), scale_factor=0.5, mode="bicubic", antialias=True
    )
    return small.round().clamp(0, 255).byte()


def test_the_damage_found_rises_with_the_compression():
    small = clean_film()
    found = [coding_damage(small[1].float() / 255)]
    found += [coding_damage(compress(small, "h264", crf)[1].float() / 255) for crf in (27, 37)]
    clean, middle, strong = found
    assert clean < middle - 0.1
    assert middle < strong
    assert clean < 0.5
    assert strong > 0.7


def test_a_picture_too_small_is_not_judged():
    assert coding_damage(torch.rand(3, 31, 200)) is None
    assert coding_damage(torch.rand(3, 32, 200)) == pytest.approx(0.5, abs=0.5)


@pytest.mark.parametrize("size", [(32, 32), (80, 96), (360, 640), (1200, 1000)])
def test_even_pictures_have_no_damage(size):
    slope = torch.linspace(0.2, 0.8, size[1]).expand(3, *size).mul(255).round() / 255
    for picture in (torch.zeros(3, *size), torch.full((3, *size), 0.5), slope):
        assert coding_damage(picture) == 0


@pytest.mark.parametrize(("codec", "quality"), [("hevc", 40), ("mpeg2", 20), ("mpeg4", 20), ("h264", 40)])
def test_the_damage_of_each_codec_is_found(codec, quality):
    assert coding_damage(compress(clean_film(), codec, quality)[1].float() / 255) > 0.7
