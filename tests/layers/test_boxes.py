from __future__ import annotations

import pytest
import torch

from refilm.layers.boxes import anchors, areas, clipped, decode, encode, not_suppressed, overlaps


def boxes(count, seed=0, side=100.0):
    random = torch.Generator().manual_seed(seed)
    low = side * torch.rand(count, 2, generator=random)
    return torch.cat([low, low + 5 + 30 * torch.rand(count, 2, generator=random)], dim=1)


def test_anchors_lie_around_the_middles_of_the_places_and_have_their_areas_and_ratios():
    found = anchors(2, 3, 16, (32.0, 64.0), (0.5, 2.0)).view(2, 3, 2, 2, 4)
    middles = (found[..., :2] + found[..., 2:]) / 2
    torch.testing.assert_close(middles[1, 2, 0, 0], torch.tensor([40.0, 24.0]))
    torch.testing.assert_close(areas(found)[0, 0], torch.tensor([[1024.0, 1024.0], [4096.0, 4096.0]]))
    size = found[..., 2:] - found[..., :2]
    torch.testing.assert_close((size[..., 1] / size[..., 0])[0, 0], torch.tensor([[0.5, 2.0], [0.5, 2.0]]))


def test_decode_undoes_encode():
    first, second = boxes(50), boxes(50, seed=1)
    torch.testing.assert_close(decode(encode(first, second), second), first, rtol=1e-4, atol=1e-3)


def test_no_offset_makes_a_box_of_any_size():
    around = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    assert areas(decode(torch.tensor([[0.0, 0.0, 50.0, 50.0]]), around)).isfinite().all()


def test_overlap_is_intersection_over_union():
    found = overlaps(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[0.0, 0, 4, 4], [2, 2, 6, 6], [4, 4, 5, 5]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 4 / 28, 0.0]]))
    assert overlaps(torch.zeros(1, 4), torch.zeros(1, 4)) == 0


def test_what_lies_beyond_the_picture_is_cut_off():
    found = clipped(torch.tensor([[-5.0, -5, 5, 5], [90, 90, 120, 120], [200, 0, 210, 5]]), 100, 110)
    assert found.tolist() == [[0, 0, 5, 5], [90, 90, 110, 100], [110, 0, 110, 5]]
    assert areas(found)[2] == 0


def greedily(boxes, threshold):
    """Non-maximum suppression as it is usually written."""
    kept = []
    for number in range(len(boxes)):
        if all(overlaps(boxes[number : number + 1], boxes[other : other + 1]) <= threshold for other in kept):
            kept.append(number)
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_greedy(seed):
    found = boxes(60, seed, side=60.0)
    assert not_suppressed(found, 0.3).nonzero().flatten().tolist() == greedily(found, 0.3)


def test_suppression_treats_each_picture_alone_and_needs_few_rounds():
    several = torch.stack([boxes(60, seed, side=60.0) for seed in range(4)])
    alone = torch.stack([not_suppressed(each, 0.5) for each in several])
    assert torch.equal(not_suppressed(several, 0.5), alone)
    assert torch.equal(not_suppressed(several, 0.5, rounds=10), alone)


def test_no_box_at_all_is_no_trouble():
    assert not_suppressed(torch.zeros(0, 4), 0.5).shape == (0,)
