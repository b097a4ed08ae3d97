import math

import pytest
import torch
from torch import nn

from refilm.layers.backbones import make_backbone, normalised
from refilm.training.losses import charbonnier
from refilm.training.super_resolution_losses import (
    FeatureDistance,
    RelativisticJudge,
    motion_weights,
    siamese_terms,
    weighted_squared_error,
)


def test_weights_are_the_length_of_the_flow_by_its_mean_within_bounds():
    torch.manual_seed(0)
    flow = torch.randn(2, 2, 4, 5)
    flow[0, :, 0, 0] = torch.tensor([300.0, -400.0])
    flow[0, :, 1, 1] = 0
    for picture, weights in zip(flow, motion_weights(flow), strict=True):
        lengths = [[math.hypot(*picture[:, y, x].tolist()) for x in range(5)] for y in range(4)]
        mean = sum(map(sum, lengths)) / 20
        expected = [[min(max(length / mean, 0.1), 10) for length in row] for row in lengths]
        torch.testing.assert_close(weights[0], torch.tensor(expected))


def test_a_patch_in_which_nothing_moves_is_learned_like_any_other():
    torch.manual_seed(0)
    output, truth = torch.rand(2, 2, 3, 4, 4)
    weights = motion_weights(torch.zeros(2, 2, 4, 4))
    torch.testing.assert_close(weighted_squared_error(output, truth, weights), (output - truth).square().mean())


def test_the_squared_error_counts_as_its_pixel_moves():
    torch.manual_seed(0)
    output, truth, weights = torch.rand(2, 3, 2, 3), torch.rand(2, 3, 2, 3), torch.rand(2, 1, 2, 3)
    total = 0.0
    for n in range(2):
        for c in range(3):
            for y in range(2):
                for x in range(3):
                    difference = float(output[n, c, y, x] - truth[n, c, y, x])
                    total += float(weights[n, 0, y, x]) * difference**2
    assert float(weighted_squared_error(output, truth, weights)) == pytest.approx(total / 36)


def huber(output, truth, delta=0.01):
    total = 0.0
    for a, b in zip(output.flatten().tolist(), truth.flatten().tolist(), strict=True):
        error = abs(a - b)
        total += error**2 / 2 if error <= delta else delta * (error - delta / 2)
    return total / output.numel()


def warp(frame, flow):
    """Each place by itself: bilinear, and whether it lies inside."""
    out, inside = torch.zeros_like(frame), torch.zeros_like(frame)
    height, width = frame.shape[1:]
    for y in range(height):
        for x in range(width):
            at_x, at_y = x + float(flow[0, y, x]), y + float(flow[1, y, x])
            if not (0 <= at_x <= width - 1 and 0 <= at_y <= height - 1):
                continue
            left, top = min(int(at_x), width - 2), min(int(at_y), height - 2)
            right, low = at_x - left, at_y - top
            out[:, y, x] = (1 - low) * ((1 - right) * frame[:, top, left] + right * frame[:, top, left + 1]) + low * (
                (1 - right) * frame[:, top + 1, left] + right * frame[:, top + 1, left + 1]
            )
            inside[:, y, x] = 1
    return out, inside


def test_the_four_terms_compare_what_the_paper_compares():
    torch.manual_seed(0)
    first, second, truth, truth_after = torch.rand(4, 2, 3, 5, 6)
    flow = 1.5 * torch.randn(2, 2, 5, 6)
    warped, inside = (torch.stack(parts) for parts in zip(*map(warp, second, flow), strict=True))
    assert 0 < inside.mean() < 1
    expected = [
        huber(first, truth),
        huber(second, truth_after),
        huber(warped, first * inside),
        huber(warped, truth * inside),
    ]

    def distance(output, truth):
        return nn.functional.huber_loss(output, truth, delta=0.01)

    terms = siamese_terms((first, second), (truth, truth_after), flow, distance)
    assert terms.tolist() == pytest.approx(expected, rel=1e-4)


def test_both_frames_learn_from_what_is_warped():
    torch.manual_seed(0)
    first, second = (torch.rand(1, 3, 5, 5, requires_grad=True) for _ in range(2))
    truths = torch.rand(1, 3, 5, 5), torch.rand(1, 3, 5, 5)
    terms = siamese_terms((first, second), truths, torch.zeros(1, 2, 5, 5), lambda a, b: charbonnier(a, b, 0.01))
    for gradient in torch.autograd.grad(terms[2], [first, second]):
        assert gradient.abs().min() > 0


def test_features_are_those_of_the_backbone_and_learn_nothing():
    torch.manual_seed(0)
    distance = FeatureDistance(["3", "6"]).train()
    whole = make_backbone("mobilenet-v2").eval()
    distance.backbone.start_from(whole.state_dict())
    output, truth = torch.rand(2, 3, 32, 32, requires_grad=True), torch.rand(2, 3, 32, 32)
    ours, theirs = (whole.maps(normalised(pictures), ("3", "6")) for pictures in (output, truth))
    expected = sum((ours[name] - theirs[name]).abs().mean() for name in ("3", "6")) / 2
    found = distance(output, truth)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert output.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in distance.parameters())
    assert float(distance(truth, truth)) == 0


def test_maps_that_there_are_not_are_named():
    with pytest.raises(ValueError, match=r"feature_maps must be maps of mobilenet-v2, 0 to 18, got \['19'\]"):
        FeatureDistance(["19"])


def test_the_judge_is_the_published_one():
    judge = RelativisticJudge(128)
    assert sum(p.numel() for p in judge.parameters()) == 14_502_281
    assert sum(isinstance(module, nn.Conv2d) for module in judge.modules()) == 10
    with pytest.raises(ValueError, match=r"crop must be a multiple of 32 \(the judge's stride\), got 48"):
        RelativisticJudge(48)


def test_verdicts_are_relative_to_the_average_of_the_other_kind():
    torch.manual_seed(0)
    judge = RelativisticJudge(32, features=4)
    output, truth = torch.rand(3, 3, 32, 32), torch.rand(3, 3, 32, 32)
    real, made = judge(truth).tolist(), judge(output).tolist()

    def mean_log(verdicts, others, real):
        average = sum(others) / len(others)
        chances = [1 / (1 + math.exp(average - verdict)) for verdict in verdicts]
        return sum(math.log(chance if real else 1 - chance) for chance in chances) / len(chances)

    generator, judges = judge.losses(output, truth)
    expected = -(mean_log(real, made, False) + mean_log(made, real, True)) / 2
    assert generator.item() == pytest.approx(expected, rel=1e-4)
    expected = -(mean_log(real, made, True) + mean_log(made, real, False)) / 2
    assert judges.item() == pytest.approx(expected, rel=1e-4)


def test_generator_and_judge_move_only_their_own_parameters():
    torch.manual_seed(0)
    judge, output = RelativisticJudge(32, features=4), torch.rand(2, 3, 32, 32, requires_grad=True)
    generator, judges = judge.losses(output, torch.rand(2, 3, 32, 32))
    generator.backward()
    assert output.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in judge.parameters())
    output.grad = None
    judges.backward()
    assert output.grad is None
    assert all(parameter.grad.isfinite().all() for parameter in judge.parameters())
