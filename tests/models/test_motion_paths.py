from fractions import Fraction

import pytest
import torch

from refilm.models.motion_paths import DISAGREEMENT, paths_at

HALF = Fraction(1, 2)
VELOCITY = torch.tensor([3.0, -2.0])  # pixels an interval


def picture(time, size=24):
    """A smooth pattern that has moved evenly for `time` intervals. -> [1, 1, size, size]"""
    y, x = (torch.arange(size) - float(time * speed) for speed in VELOCITY.flip(0).tolist())
    return (torch.sin(0.3 * x)[None, :] + torch.cos(0.25 * y)[:, None])[None, None]


def even_flows(intervals, size=24):
    flow = VELOCITY.view(1, 2, 1, 1).expand(1, 2, size, size)
    return [torch.stack((flow, -flow)) for _ in range(intervals)]


@pytest.mark.parametrize("instant", [Fraction(0), HALF, Fraction(1), Fraction(3, 2), Fraction(2)])
@pytest.mark.parametrize("later", [-0.5, -0.25, 0.0, 0.25, 0.5])
def test_what_is_sampled_along_the_path_lies_as_at_the_instant(instant, later):
    paths = paths_at(even_flows(2), instant)
    sampled = paths.sampled(picture(float(instant) + later), later)
    inside = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(sampled[inside], picture(float(instant))[inside], atol=0.02, rtol=0)


def test_motion_may_differ_before_and_after_a_frame():
    slow, fast = even_flows(1)[0], 2 * even_flows(1)[0]
    paths = paths_at([slow, fast], Fraction(1))
    torch.testing.assert_close(paths.back, slow[1])
    torch.testing.assert_close(paths.forth, fast[0])


@pytest.mark.parametrize("place", [0, 1])
def test_where_a_frame_is_repeated_the_motion_on_its_other_side_goes_on(place):
    still = torch.zeros_like(even_flows(1)[0])
    flows = [still, even_flows(1)[0]] if place == 0 else [even_flows(1)[0], still]
    paths = paths_at(flows, Fraction(1))
    torch.testing.assert_close(paths.forth, even_flows(1)[0][0])
    torch.testing.assert_close(paths.back, even_flows(1)[0][1])
    assert not paths_at([still, still], Fraction(1)).forth.any()


@pytest.mark.parametrize("instant", [Fraction(1, 2), Fraction(1)])
def test_paths_are_trusted_where_the_motions_there_and_back_agree(instant):
    agreeing = even_flows(1)[0]
    assert (paths_at([agreeing, agreeing], instant).trust[..., 8:-8, 8:-8] > 0.999).all()
    half = agreeing.clone()
    half[1] *= 1 - DISAGREEMENT / VELOCITY.norm()  # the way back is two pixels shorter
    inside = paths_at([half, agreeing], instant).trust[..., 8:-8, 8:-8]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.5))


def test_half_way_paths_are_those_of_the_interval_around():
    slow, fast = even_flows(1)[0], 2 * even_flows(1)[0]
    paths = paths_at([slow, fast], Fraction(3, 2))
    torch.testing.assert_close(paths.back[..., 8:-8, 8:-8], fast[1][..., 8:-8, 8:-8])
    torch.testing.assert_close(paths.forth[..., 8:-8, 8:-8], fast[0][..., 8:-8, 8:-8])


def test_beyond_the_border_the_border_is_read():
    paths = paths_at(even_flows(1), Fraction(0))
    sampled = paths.sampled(torch.ones(1, 2, 24, 24), 1.0)
    assert torch.equal(sampled, torch.ones(1, 2, 24, 24))
