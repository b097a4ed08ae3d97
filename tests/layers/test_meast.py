from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from refilm.layers.backbones import make_backbone
from refilm.layers.backbones.meast import DEPTHWISE, KERNELS, MEAST, FeatureInteraction


def multiply_adds(module, *inputs):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        module.to("meta")(*(value.to("meta") if isinstance(value, torch.Tensor) else value for value in inputs))
    return counter.get_total_flops() // 2


def shuffled(x, groups):
    """Channel shuffle of ShuffleNet: [N, groups * n, H, W], read as [groups, n], written as [n, groups]."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def permutation(order):
    return torch.eye(len(order))[order]


def test_the_interaction_begins_as_concatenation():
    x = torch.rand(2, 12, 3, 3)
    assert torch.equal(FeatureInteraction(12, 12)(x), x)
    assert torch.equal(FeatureInteraction(12, 3)(x), x)


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_the_interaction_can_be_channel_shuffle(groups):
    x, layer = torch.rand(2, 12, 3, 3), FeatureInteraction(12, 12)
    order = shuffled(torch.arange(12).view(1, 12, 1, 1), groups).flatten()
    layer.weight.data[0] = permutation(order)
    assert torch.equal(layer(x), shuffled(x, groups))


def test_a_bundle_has_one_channel_of_each_branch():
    x, layer = torch.rand(1, 6, 2, 2), FeatureInteraction(6, 3)  # three branches of two channels
    layer.weight.data[1] = permutation([1, 2, 0])
    assert torch.equal(layer(x), x[:, [0, 3, 2, 5, 4, 1]])


def test_permutations_and_other_rotations_are_not_rough():
    layer = FeatureInteraction(12, 4)
    assert layer.roughness() == 0
    layer.weight.data[:] = permutation([2, 0, 3, 1])
    assert layer.roughness() == 0
    layer.weight.data[:] = torch.linalg.qr(torch.rand(4, 4))[0]
    assert layer.roughness() < 1e-12
    layer.weight.data[:] = 1
    assert layer.roughness() > 1


@pytest.mark.parametrize(("kernels", "depthwise"), [(KERNELS, False), (DEPTHWISE, True)])
@pytest.mark.parametrize("stride", [1, 2])
def test_each_branch_is_a_convolution_over_frames_and_places(kernels, depthwise, stride):
    block, x = MEAST(24, stride, kernels, depthwise), torch.rand(2 * 5, 24, 8, 6)
    clips = x.unflatten(0, (2, 5)).transpose(1, 2)
    group = 24 // len(kernels)
    for number, (kernel, branch) in enumerate(zip(kernels, block.branches, strict=True)):
        padding, own = [side // 2 for side in kernel], slice(number * group, (number + 1) * group)
        expected = nn.functional.conv3d(
            clips[:, own], branch.weight, None, (1, stride, stride), padding, groups=group if depthwise else 1
        )
        torch.testing.assert_close(block(x, 5)[:, own], expected.transpose(1, 2).flatten(0, 1), atol=1e-5, rtol=1e-4)


def test_frames_of_one_clip_only_are_mixed():
    block, x = MEAST(24, 1, KERNELS, depthwise=False), torch.rand(6, 24, 4, 4)
    torch.testing.assert_close(block(x, 3)[:3], block(x[:3], 3))


@pytest.mark.parametrize("channels", [64, 512])
def test_in_a_bottleneck_it_costs_less_than_the_convolution_it_replaces(channels):
    x = torch.rand(8, channels, 14, 14)
    plain = multiply_adds(nn.Conv2d(channels, channels, 3, padding=1, bias=False), x)
    assert multiply_adds(MEAST(channels, 1, KERNELS, depthwise=False), x, 8) <= 1.15 * plain


@pytest.mark.parametrize("channels", [96, 960])
def test_in_an_inverted_residual_block_it_costs_at_most_15_percent_more(channels):
    x = torch.rand(8, channels, 14, 14)
    plain = multiply_adds(nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False), x)
    assert multiply_adds(MEAST(channels, 1, DEPTHWISE, depthwise=True), x, 8) <= 1.15 * plain


@pytest.mark.parametrize("name", ["resnet-50", "mobilenet-v2"])
def test_a_backbone_with_it_starts_from_weights_for_pictures(name):
    pictures, backbone = make_backbone(name), make_backbone(f"{name}-meast")
    backbone.start_from(pictures.state_dict())
    own = backbone.state_dict()
    same = {key for key, value in pictures.state_dict().items() if key in own and torch.equal(own[key], value)}
    renewed = {key for key in own if key.startswith(backbone.renewed)}
    assert same == set(own) - renewed
    assert sum(isinstance(module, MEAST) for module in backbone.modules()) == 16
    assert sum(p.numel() for p in backbone.parameters()) < 1.15 * sum(p.numel() for p in pictures.parameters())


@pytest.mark.parametrize("name", ["resnet-50-meast", "mobilenet-v2-meast"])
@torch.inference_mode()
def test_maps_have_the_sizes_of_the_plain_backbone(name):
    backbone = make_backbone(name).eval()
    maps = backbone.maps(torch.rand(3, 3, 40, 48), list(backbone.sizes), length=3)
    for map_name, (stride, channels) in backbone.sizes.items():
        assert maps[map_name].shape == (3, channels, -(-40 // stride), -(-48 // stride))
