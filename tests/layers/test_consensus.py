from __future__ import annotations

import pytest
import torch

from refilm.layers.consensus import CONSENSUS, AverageConsensus, OrderedConsensus

every_kind = pytest.mark.parametrize("kind", CONSENSUS.values(), ids=CONSENSUS)


def spread(consensus):
    """With weights that do not hide what the segments say."""
    torch.manual_seed(0)
    for parameter in consensus.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return consensus.eval()


@every_kind
@pytest.mark.parametrize("segments", [1, 2, 3, 8, 25])
def test_it_takes_any_number_of_segments(kind, segments):
    assert kind(6, 4, 0.5)(torch.rand(2, segments, 6)).shape == (2, 4)


def test_the_average_is_that_of_the_scores_of_the_segments_in_any_order():
    consensus, features = spread(AverageConsensus(6, 4, 0.5)), torch.rand(2, 5, 6)
    each = torch.stack([consensus(features[:, s : s + 1]) for s in range(5)])
    torch.testing.assert_close(consensus(features), each.mean(0))
    torch.testing.assert_close(consensus(features), consensus(features.flip(1)))


def test_the_ordered_one_tells_a_clip_from_its_reverse_even_where_neighbours_look_alike():
    consensus = spread(OrderedConsensus(6, 4, 0.5))
    features = torch.rand(2, 5, 6)
    assert (consensus(features) - consensus(features.flip(1))).abs().min() > 1e-3
    # first one thing for long, then another
    steps = torch.rand(2, 2, 6).repeat_interleave(8, dim=1)
    assert (consensus(steps) - consensus(steps.flip(1))).abs().min() > 1e-3


@every_kind
def test_dropout_is_for_training_only(kind):
    consensus, features = spread(kind(6, 4, 0.5)), torch.rand(1, 3, 6)
    assert torch.equal(consensus(features), consensus(features))
    consensus.train()
    assert not torch.equal(consensus(features), consensus(features))
