import math

import torch

from refilm.layers.neighbours import distances_along


def test_along_a_circle_with_a_gap_the_distance_is_that_of_the_arc():
    angles = torch.linspace(0, 1.8 * math.pi, 200)
    found = distances_along(torch.stack([angles.cos(), angles.sin()], dim=1), neighbours=2)
    torch.testing.assert_close(found[0], angles, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found, found.T)


def test_where_no_chain_leads_the_distance_is_infinite():
    samples = torch.cat([torch.rand(10, 3, 4, 4), 100 + torch.rand(10, 3, 4, 4)])
    found = distances_along(samples, neighbours=3)
    assert found[:10, :10].isfinite().all()
    assert found[:10, 10:].isinf().all()


def test_equal_samples_are_linked_and_few_samples_are_all_neighbours():
    found = distances_along(torch.tensor([[0.0], [0.0], [1.0]]), neighbours=10)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0, 1], [0, 0, 1], [1, 1, 0]]), atol=1e-6, rtol=0)
