from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from refilm.stages.tiles import run_tiled


def blur(clip):
    """Reaches two pixels, in a model that demands multiples of four."""
    assert clip.shape[-2] % 4 == 0
    assert clip.shape[-1] % 4 == 0
    kernel = torch.ones(clip.shape[1], 1, 1, 5, 5) / 25
    return F.conv3d(clip, kernel, padding=(0, 2, 2), groups=clip.shape[1])


@pytest.mark.parametrize("size", [(40, 64), (33, 47), (8, 100)])
@pytest.mark.parametrize("tile", [8, 13, 64])
def test_tiled_equals_whole_where_the_reach_is_finite(size, tile):
    clip = torch.rand(1, 3, 2, *size)
    whole = run_tiled(blur, clip, reach=2, multiple=4)
    tiled = run_tiled(blur, clip, reach=2, multiple=4, tile=tile)
    # padding to a multiple is what differs at the far borders of a tile, so the reach covers it
    torch.testing.assert_close(tiled, whole)


def test_scales_up_without_a_seam():
    clip = torch.rand(1, 1, 1, 21, 30)

    def double(part):
        return F.interpolate(part[:, :, 0], scale_factor=2, mode="nearest")[:, :, None]

    torch.testing.assert_close(
        run_tiled(double, clip, reach=0, scale=2, tile=8), run_tiled(double, clip, reach=0, scale=2)
    )


def test_a_model_that_needs_the_whole_picture_is_never_tiled():
    seen = []
    run_tiled(lambda clip: seen.append(clip.shape) or clip, torch.rand(1, 3, 2, 40, 40), reach=None, tile=8)
    assert seen == [(1, 3, 2, 40, 40)]


def test_a_tile_must_have_a_size():
    with pytest.raises(ValueError, match="tile must be at least 1 pixel, got 0"):
        run_tiled(lambda clip: clip, torch.rand(1, 3, 2, 40, 40), reach=1, tile=0)
