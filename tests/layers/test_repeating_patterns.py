"""The motion of fences that pass before a background at rest."""

import numpy as np
import pytest
import torch
from models.test_flow_blend import texture

from refilm.layers.optical_flow import DIS, luma
from refilm.layers.repeating_patterns import with_shortest

HEIGHT, WIDTH, PERIOD, BAR = 160, 320, 24, 8


def fence(moved: int) -> np.ndarray:
    """[HEIGHT, WIDTH], uint8: bars before a texture at rest."""
    plane = 0.6 * luma(texture(HEIGHT, WIDTH)[0]).numpy()
    plane[:, (np.arange(WIDTH) - moved) % PERIOD < BAR] = 240
    return plane.astype(np.uint8)


def flow_of(first: np.ndarray, second: np.ndarray, **options) -> np.ndarray:
    """The flow across from the first frame to the second, without the border."""
    planes = (torch.from_numpy(frame)[None] for frame in (first, second))
    return DIS(refinement=10, **options).both_ways(*planes)[0, 0, 0, 40:-40, 40:-40].numpy()


@pytest.mark.parametrize("moved", [6, -6])
def test_a_fence_moves_by_the_shortest_way(moved):
    frames = fence(0), fence(moved)
    found = flow_of(*frames, correct=with_shortest)
    assert (np.abs(found - moved) < 1).mean() > 0.9


def test_a_texture_that_does_not_repeat_keeps_its_flow():
    frame = luma(texture(HEIGHT, WIDTH + 40)[0]).numpy()
    first, second = frame[:, 40:].copy(), frame[:, 20:-20].copy()
    assert np.array_equal(flow_of(first, second, correct=with_shortest), flow_of(first, second))


def test_a_picture_without_texture_or_too_small_keeps_its_flow():
    for size in ((HEIGHT, WIDTH), (120, 300), (1, 1)):
        plain, flow = np.full(size, 90, np.uint8), np.full((*size, 2), 7, np.float32)
        assert with_shortest(plain, plain, flow) is flow
