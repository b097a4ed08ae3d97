from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from refilm.models import create_model
from refilm.models.pwc_net import PWCNet, PWCNetConfig, enlarged

SMALL = PWCNetConfig(levels=2, features=(8, 4), radius=1, decoder=(8,))


def test_it_is_a_small_network_of_four_levels():
    network = PWCNet()
    assert 0.1e6 < sum(p.numel() for p in network.parameters()) < 0.3e6
    flows = network.levels_both_ways(*torch.rand(2, 1, 1, 64, 128))
    assert [tuple(flow.shape[3:]) for flow in flows] == [(2, 4), (4, 8), (8, 16), (16, 32), (64, 128)]


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (64, 64), (33, 100)])
def test_frames_may_have_any_size(size):
    first, second = torch.rand(2, 2, 1, *size)
    network = PWCNet(SMALL).eval()
    assert network(first, second).shape == (2, 2, *size)
    assert network.both_ways(first, second).shape == (2, 2, 2, *size)


def test_both_ways_are_the_flow_from_each_frame_to_the_other():
    network = PWCNet(SMALL).eval()
    for parameter in network.parameters():  # else it sees no motion
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    first, second = torch.rand(2, 2, 1, 40, 48)
    there, back = network.both_ways(first, second)
    assert there.abs().max() > 0.01
    torch.testing.assert_close(there, network(first, second), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(back, network(second, first), atol=1e-4, rtol=1e-4)


def test_an_untrained_network_sees_no_motion():
    assert not PWCNet()(*torch.rand(2, 1, 1, 64, 64)).any()


def test_enlarging_takes_convex_combinations_of_neighbours():
    flow = torch.rand(1, 2, 5, 6)
    even = enlarged(flow, torch.zeros(1, 144, 5, 6))
    around = F.avg_pool2d(F.pad(flow, (1,) * 4, mode="replicate"), 3, stride=1)
    torch.testing.assert_close(even, F.interpolate(around, scale_factor=4.0, mode="nearest"))
    one = torch.zeros(1, 9, 16, 5, 6)
    one[:, 4] = 100  # the pixel itself
    torch.testing.assert_close(enlarged(flow, one.flatten(1, 2)), F.interpolate(flow, scale_factor=4.0, mode="nearest"))


def test_there_must_be_a_level():
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        PWCNetConfig(levels=0)


def test_levels_start_where_they_are_told():
    network = PWCNet(SMALL)
    starts = [torch.full((2, 1, 2, side, side), float(side)) for side in (8, 16)]
    coarse, fine, whole = network.levels_both_ways(*torch.rand(2, 1, 1, 64, 64), starts)
    assert (coarse == 8 * 8).all()
    assert (fine == 4 * 16).all()
    torch.testing.assert_close(whole, torch.full((2, 1, 2, 64, 64), 64.0))


def test_features_know_nothing_of_brightness_and_exposure():
    network, frame = PWCNet(SMALL).eval(), torch.rand(1, 1, 64, 64)
    for one, other in zip(network.features(frame), network.features(0.6 * frame + 0.3), strict=True):
        torch.testing.assert_close(one, other, atol=0.1, rtol=0)


def test_it_is_made_by_its_name():
    assert isinstance(create_model("pwc-small", weights=None, radius=2), PWCNet)
