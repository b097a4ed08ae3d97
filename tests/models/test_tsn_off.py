from __future__ import annotations

import pytest
import torch
from torch import nn

from refilm.models import create_model
from refilm.models.tsn import TSN, TSNConfig
from refilm.models.tsn_off import TSNOFF, OFFStream, TSNOFFConfig, pairs
from refilm.ops import off

SMALL = {
    "backbone": "mobilenet-v2",
    "labels": ("a", "b", "c"),
    "segments": 3,
    "levels": (("3",), ("4", "6"), ("13",)),
    "reduced": 8,
    "kernels": (5, 3, 3),
    "widths": (4, 6, 8),
    "blocks": (2, 1, 1),
}


def network(**fields):
    """In evaluation mode, with classifiers whose scores differ."""
    torch.manual_seed(0)
    model = TSNOFF(TSNOFFConfig(**SMALL | fields)).eval()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return model


def test_the_papers_network_on_bn_inception():
    stream = create_model("tsn-bninception-off", weights=None).streams["rgb"]
    assert [level.unit.reduce.out_channels for level in stream.levels] == [128, 128, 128]
    assert [level.unit.reduce.in_channels for level in stream.levels] == [576, 2944, 2048]
    # He et al.: three convolutions to a block; with those that enter the levels and the classifier, some 20 layers
    convolutions = [m for m in stream.levels.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert len(convolutions) == 3 + 6
    assert not any(isinstance(module, nn.BatchNorm2d) for module in stream.levels.modules())
    assert [level.enter.stride for level in stream.levels] == [(2, 2), (2, 2), (1, 1)]
    assert [level.channels for level in stream.levels] == [256, 512, 1024]


@torch.inference_mode()
def test_a_level_takes_off_of_the_maps_of_neighbouring_segments_and_what_the_finer_level_found():
    model = network()
    stream, clip = model.streams["rgb"], torch.rand(2, 3, 4, 32, 32)
    maps = stream.maps(stream.seen(model.snippets(clip)))
    level, features = stream.levels[0], maps["3"]
    reduced = level.unit.reduce(features.flatten(0, 2)).unflatten(0, (2, 4))
    seen = torch.cat([off(reduced[n, t : t + 1], reduced[n, t + 1 : t + 2]) for n in (0, 1) for t in (0, 1, 2)])
    expected = level.refine(level.enter(seen).relu()).unflatten(0, (2, 3, 1))
    torch.testing.assert_close(level(features, None), expected)
    finer = torch.rand_like(expected)
    second = stream.levels[1](torch.cat([maps["4"], maps["6"]], dim=3), finer)
    assert second.shape == (2, 3, 1, 24, 2, 2)
    assert not torch.allclose(second, stream.levels[1](torch.cat([maps["4"], maps["6"]], dim=3), 0 * finer))


@torch.inference_mode()
def test_the_score_is_the_sum_of_the_backbones_and_the_last_levels():
    model, clip = network(), torch.rand(2, 3, 3, 32, 32)
    heads = model.heads(clip)
    assert list(heads) == ["rgb", "rgb OFF 1", "rgb OFF 2", "rgb OFF 3"]
    assert all(logits.shape == (2, 3) for logits in heads.values())
    torch.testing.assert_close(model(clip), heads["rgb"] + heads["rgb OFF 3"])


@torch.inference_mode()
@pytest.mark.parametrize(
    ("fields", "sees"),
    [
        ({}, ("rgb", "rgb OFF")),
        ({"appearance": False}, ("rgb OFF",)),
        (
            {"streams": ("rgb", "flow", "difference"), "off": ("rgb",), "weights": (1.0, 1.5, 0.5)},
            ("rgb", "rgb OFF", "flow", "difference"),
        ),
    ],
)
def test_streams_add_up_to_the_score(fields, sees):
    model = network(**fields)
    clip = torch.rand(2, 3, model.sampling.frames, 32, 32)
    found = model.by_stream(clip)
    assert model.sees == tuple(found) == sees
    torch.testing.assert_close(sum(found.values()), model(clip))


@torch.inference_mode()
def test_the_backbones_score_is_that_of_tsn():
    model = network()
    fields = {name: SMALL[name] for name in ("backbone", "labels", "segments")}
    plain = TSN(TSNConfig(**fields)).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    clip = torch.rand(1, 3, 3, 32, 32)
    torch.testing.assert_close(model.heads(clip)["rgb"], plain(clip))


@torch.inference_mode()
def test_in_a_still_clip_nothing_is_seen_by_the_temporal_half():
    model = network(use="temporal")
    other, still = torch.rand(2, 3, 1, 32, 32).expand(-1, -1, 3, -1, -1).split(1)
    assert torch.equal(model.heads(other)["rgb OFF 3"], model.heads(still)["rgb OFF 3"])
    moving = torch.cat([other[:, :, :2], still[:, :, :1]], dim=2)
    assert not torch.allclose(model.heads(moving)["rgb OFF 3"], model.heads(still)["rgb OFF 3"])


@torch.inference_mode()
def test_hypercolumns_see_single_frames():
    model = network(use="hypercolumn")
    clip = torch.rand(1, 3, 3, 32, 32)
    swapped = clip[:, :, [1, 0, 2]]
    torch.testing.assert_close(model.heads(clip)["rgb OFF 3"], model.heads(swapped)["rgb OFF 3"], atol=1e-5, rtol=1e-4)
    assert [level.unit.channels for level in model.streams["rgb"].levels] == [8, 8, 8]


def test_pairs_are_of_segments_or_within_snippets():
    frames = torch.arange(6).view(1, 6, 1)
    assert [each.flatten().tolist() for each in pairs(frames)] == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]
    frames = torch.arange(6).view(1, 2, 3)
    assert [each.tolist() for each in pairs(frames)] == [[[[0, 1], [3, 4]]][0:1], [[[1, 2], [4, 5]]]]


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("consensus", ["average", "ordered"])
@torch.inference_mode()
def test_it_takes_any_number_of_segments(frames, consensus):
    model = network(frames=frames, consensus=consensus)
    for segments in (2, 5):
        assert model(torch.rand(1, 3, segments * frames, 40, 56)).shape == (1, 3)


@torch.inference_mode()
def test_every_stream_has_off_unless_some_are_named():
    clip = torch.rand(1, 3, 12, 32, 32)
    assert len(network(streams=("rgb", "difference", "flow")).heads(clip)) == 12
    model = network(streams=("rgb", "flow"), off=("rgb",))
    assert list(model.heads(clip)) == ["rgb", "rgb OFF 1", "rgb OFF 2", "rgb OFF 3", "flow"]
    assert isinstance(model.streams["rgb"], OFFStream)
    assert not isinstance(model.streams["flow"], OFFStream)


def test_with_a_frozen_backbone_all_else_learns():
    model = network(frozen=True, flow_grid=2).train()
    heads, flow = model.lesson(torch.rand(2, 3, 3, 32, 32))
    loss = flow.square().sum() + sum(logits.square().sum() for logits in heads.values())
    loss.backward()
    learns = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert learns == {name for name, _ in model.named_parameters() if ".backbone." not in name}


def test_the_flow_that_is_to_be_predicted_is_that_between_the_frames_of_each_pair():
    model = network(frames=2, flow_grid=4)
    picture = nn.functional.interpolate(torch.rand(1, 3, 24, 24), (96, 96), mode="bicubic").clamp(0, 1)
    clip = torch.stack([picture.roll(3 * t, 3) for t in (0, 1, 0, 1)], dim=2)
    target, predicted = model.flow_target(clip), model.lesson(clip).flow
    assert target.shape == predicted.shape == (1, 2, 2, 4, 4)
    inner = target[0, :, :, 1:3, 1:3].flatten(2).mean(dim=2)
    torch.testing.assert_close(inner, torch.tensor([[3.0, 0.0], [3.0, 0.0]]), atol=0.5, rtol=0)
    assert model.flow_pairs() == ([0, 2, 4], [1, 3, 5])
    # also for a clip that is not where the model is, as in processes that draw batches
    torch.testing.assert_close(model.to("meta").flow_target(clip), target)
    # with a stream that needs six frames of each of three snippets, the middle ones of these
    assert network(streams=("rgb", "flow"), off=("rgb",), flow_grid=4).flow_pairs() == ([2, 8], [8, 14])
    assert network().lesson(torch.rand(1, 3, 2, 32, 32)).flow is None


@torch.inference_mode()
def test_a_head_of_its_own_sees_the_mean_of_the_predicted_flow():
    model = network(flow_grid=4, classifies_flow=True, appearance=False)
    clip = torch.rand(2, 3, 3, 32, 32)
    heads, flow = model.lesson(clip)
    assert set(heads) == {"rgb OFF 1", "rgb OFF 2", "rgb OFF 3", "rgb OFF flow"}
    torch.testing.assert_close(model(clip), heads["rgb OFF 3"] + heads["rgb OFF flow"])
    classify = model.streams["rgb"].flow_classifier
    torch.testing.assert_close(heads["rgb OFF flow"], classify(flow))
    torch.testing.assert_close(classify(flow), classify(flow.mean(dim=1, keepdim=True)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"levels": (("3", "6"), ("6",), ("13",))}, "the maps of a level must have the same size"),
        ({"levels": (("3",),)}, "must have an entry for each level"),
        ({"off": ("flow",)}, "off must name streams"),
        ({"use": "sobel"}, "use must be one of off, temporal, hypercolumn"),
        ({"segments": 1}, "OFF needs two frames"),
        ({"streams": ("flow",), "flow_grid": 2}, 'flow_grid needs OFF of the stream "rgb"'),
        ({"classifies_flow": True}, "classifies_flow needs a flow_grid"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        network(**fields)


@torch.inference_mode()
def test_without_appearance_the_backbone_ends_where_off_sees_no_more():
    whole, cut = network(), network(appearance=False)
    cut.load_state_dict({name: value for name, value in whole.state_dict().items() if name in cut.state_dict()})
    clip = torch.rand(2, 3, 3, 32, 32)
    heads = cut.heads(clip)
    assert list(heads) == ["rgb OFF 1", "rgb OFF 2", "rgb OFF 3"]
    for name, logits in heads.items():
        torch.testing.assert_close(logits, whole.heads(clip)[name])
    torch.testing.assert_close(cut(clip), sum(heads.values()))
    assert list(cut.streams["rgb"].backbone.sizes)[-1] == "13"
    names = [name for name in whole.state_dict() if name not in cut.state_dict()]
    assert all(name.startswith(("streams.rgb.backbone.features.1", "streams.rgb.consensus.")) for name in names)
    assert sum(p.numel() for p in cut.parameters()) < 0.5 * sum(p.numel() for p in whole.parameters())


def test_a_backbone_that_ends_early_starts_from_the_weights_of_a_whole_one():
    cut, state = network(appearance=False), network().streams["rgb"].backbone.state_dict()
    state = {name: value + 1 for name, value in state.items()}
    cut.start_from(state)
    assert all(torch.equal(value, state[name]) for name, value in cut.streams["rgb"].backbone.state_dict().items())
    del state["features.0.0.weight"]
    with pytest.raises((RuntimeError, KeyError)):
        cut.start_from(state)
