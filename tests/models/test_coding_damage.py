from __future__ import annotations

from pathlib import Path

import pytest
import torch

from refilm.data.degradations import compress
from refilm.data.pack import read_clip
from refilm.models.coding_damage import coding_damage

BIKES = Path(__file__).parents[2] / "examples" / "bikes.mp4"


def test_the_damage_found_rises_with_the_compression():
    clip = read_clip(BIKES)[:3]
    # at half the size, what its own encoding did to it is gone
    small = torch.nn.functional.interpolate(clip.float(), scale_factor=0.5, mode="bicubic", antialias=True)
    small = small.round().clamp(0, 255).byte()
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
