from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from refilm.layers.optical_flow import DIS
from refilm.models import create_model
from refilm.models.tsn import LARGEST_FLOW, STD, TSN, Stream, TSNConfig

SMALL = {"backbone": "mobilenet-v2", "labels": ("a", "b", "c"), "segments": 3, "height": 32, "width": 32}
ALL = ("rgb", "difference", "flow")


def tsn(**fields):
    """In evaluation mode, with classifiers whose scores differ."""
    torch.manual_seed(0)
    model = TSN(TSNConfig(**SMALL | fields)).eval()
    for stream in model.streams.values():
        nn.init.normal_(stream.consensus.classifier.weight)
    return model


def moving(frames, shift, side=32):
    """A textured picture that moves by `shift` = (dx, dy) pixels a frame. [1, 3, frames, side, side]"""
    torch.manual_seed(1)
    coarse = torch.rand(1, 3, side // 4, side // 4)
    picture = nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return torch.stack([picture.roll((t * shift[1], t * shift[0]), (2, 3)) for t in range(frames)], dim=2)


def test_the_papers_network_for_ucf101():
    model = create_model("tsn-bninception", weights=None)
    assert len(model.labels) == 101
    assert (model.sampling.segments, model.sampling.snippet, model.window) == (25, 1, 25)
    # BN-Inception without its classifier of 1000 classes, and one of 101
    assert sum(p.numel() for p in model.parameters()) == 11_295_240 - 1000 * 1025 + 101 * 1025
    assert model.streams["rgb"].dropout == 0.8
    flow = create_model("tsn-bninception", weights=None, streams=("flow",))
    assert flow.streams["flow"].dropout == 0.7
    assert flow.streams["flow"].backbone.conv1_7x7_s2[0].in_channels == 10


@torch.inference_mode()
def test_scores_are_the_mean_over_the_segments_of_any_number():
    model, clip = tsn(), torch.rand(2, 3, 4, 32, 32)
    each = torch.stack([model(clip[:, :, s : s + 1]) for s in range(4)])
    torch.testing.assert_close(model(clip), each.mean(0), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_streams_are_summed_with_their_weights():
    model, clip = tsn(streams=ALL, weights=(1, 0.5, 1.5)), torch.rand(1, 3, 12, 32, 32)
    assert model.sampling.snippet == 6
    heads = model.heads(clip)
    assert list(heads) == list(ALL)
    expected = heads["rgb"] + 0.5 * heads["difference"] + 1.5 * heads["flow"]
    torch.testing.assert_close(model(clip), expected)
    torch.testing.assert_close(model.fused(heads), expected)


@torch.inference_mode()
def test_a_snippet_of_many_frames_shows_rgb_its_middle():
    model = tsn(streams=ALL)
    clip = torch.rand(1, 3, 12, 32, 32)
    alone = tsn()(clip[:, :, 2::6])
    torch.testing.assert_close(model.heads(clip)["rgb"], alone, rtol=1e-4, atol=1e-4)


def test_difference_is_what_changes_from_frame_to_frame():
    stream = Stream("difference", TSNConfig(**SMALL | {"streams": ("difference",)}))
    snippets = torch.rand(1, 2, 6, 3, 8, 8)
    seen = stream.seen(snippets)
    assert seen.shape == (1, 2, 1, 15, 8, 8)
    torch.testing.assert_close(seen[0, 1, 0, 3:6], (snippets[0, 1, 2] - snippets[0, 1, 1]) / (2 * STD))
    assert not stream.seen(torch.rand(1, 2, 1, 3, 8, 8).expand(-1, -1, 6, -1, -1, -1)).any()


def test_flow_is_in_pixels_of_the_frames_pair_after_pair():
    stream = Stream("flow", TSNConfig(**SMALL | {"streams": ("flow",)}))
    snippets = moving(6, (4, 0), side=96).movedim(2, 1)[:, None]
    seen = stream.seen(snippets)
    assert seen.shape == (1, 1, 1, 10, 96, 96)
    pixels = (seen * 2 * LARGEST_FLOW * STD)[0, 0, 0].unflatten(0, (5, 2))[..., 24:-24, 24:-24]
    torch.testing.assert_close(pixels.flatten(2).median(dim=2).values, torch.tensor([[4.0, 0.0]] * 5), atol=0.5, rtol=0)
    assert isinstance(stream._motion, DIS)


def test_partial_batch_normalisation_leaves_all_but_the_first_as_they_are():
    model = tsn().train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms[0].training
    assert norms[0].weight.requires_grad
    assert not any(norm.training or norm.weight.requires_grad for norm in norms[1:])
    before = [norm.running_mean.clone() for norm in norms]
    model(torch.rand(2, 3, 3, 32, 32)).sum().backward()
    moved = [not torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True)]
    assert moved == [True] + [False] * (len(norms) - 1)


def test_a_frozen_backbone_stays_as_it_is_and_the_classifier_learns():
    model = tsn(frozen=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    nn.functional.cross_entropy(model(torch.rand(2, 3, 3, 32, 32)), torch.tensor([0, 1])).backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"streams.rgb.consensus.classifier.weight", "streams.rgb.consensus.classifier.bias"}


def test_weights_that_were_learned_on_pictures_start_every_stream():
    model, other = tsn(streams=("rgb", "flow")), tsn()
    model.start_from(other.streams["rgb"].backbone.state_dict())
    for stream in model.streams.values():
        weight = stream.backbone.state_dict()["features.5.conv.0.weight"]
        assert torch.equal(weight, other.streams["rgb"].backbone.state_dict()["features.5.conv.0.weight"])


def test_sampling_says_what_the_model_wants_to_see():
    sampling = tsn(streams=("rgb", "flow"), rate=15, seconds=2.5).sampling
    assert (sampling.rate, sampling.seconds, sampling.frames) == (Fraction(15), Fraction(5, 2), 18)
    assert (sampling.height, sampling.width) == (32, 32)


def test_lists_as_json_gives_them_are_the_same_config():
    assert TSNConfig(labels=["a"], streams=["rgb"], weights=[2]) == TSNConfig(labels=("a",), weights=(2,))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backbone": "alexnet"}, "backbone must be one of bn-inception.*got 'alexnet'"),
        ({"streams": ()}, "streams must be different ones of rgb, difference, flow"),
        ({"streams": ("rgb", "rgb")}, "streams must be different"),
        ({"weights": (1, 2)}, "weights must be one for each of 1 streams"),
        ({"consensus": "vote"}, 'consensus must be "average" or "ordered"'),
        ({"labels": ()}, "labels must name a class"),
        ({"segments": 0}, "segments and frames be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TSNConfig(**fields)


def test_a_clip_that_is_no_number_of_snippets_is_refused():
    with pytest.raises(ValueError, match=r"takes a clip \[N, 3, 18, H, W\]"):
        tsn(streams=("rgb", "flow"))(torch.rand(1, 3, 7, 32, 32))
