"""Backbones: their published sizes, and that each names its maps as they are."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from refilm.layers.backbones import BACKBONES, Temporal, make_backbone, normalised, through
from refilm.layers.backbones.bn_inception import halved

# With a classifier of 1000 classes: torchvision's table (MobileNetV2, ResNet-50), timm's (EfficientNet-Lite0) and
# pretrainedmodels' (BN-Inception).
PUBLISHED = {
    "mobilenet-v2": 3_504_872,
    "resnet-50": 25_557_032,
    "efficientnet-lite0": 4_652_008,
    "bn-inception": 11_295_240,
}


made = cache(make_backbone)  # those of a name, for tests that leave them as they are


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_backbone_has_the_published_number_of_parameters(name):
    backbone = made(name)
    assert parameters(backbone) + 1000 * (backbone.width + 1) == PUBLISHED[name]


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [(33, 50), (9, 14)])
@torch.no_grad()
def test_maps_have_the_sizes_that_are_said(name, size):
    backbone = made(name).eval()
    maps = backbone.maps(torch.rand(2, 3, *size), list(backbone.sizes))
    assert list(maps) == list(backbone.sizes)
    for map_name, (stride, channels) in backbone.sizes.items():
        assert maps[map_name].shape == (2, channels, *(-(-side // stride) for side in size)), map_name


@pytest.mark.parametrize("name", BACKBONES)
def test_only_the_wanted_maps_and_the_last_are_kept(name):
    backbone = made(name).eval()
    first, *_, last = backbone.sizes
    with torch.no_grad():
        assert list(backbone.maps(torch.rand(1, 3, 32, 32), [first])) == [first, last]


@pytest.mark.parametrize("name", ["bn-inception", "mobilenet-v2", "resnet-50-thin"])
def test_weights_for_pictures_start_a_backbone_for_other_planes(name):
    pictures, flow = made(name), make_backbone(name, planes=10)
    flow.start_from(pictures.state_dict())
    # where all planes are alike, the mean over RGB sees the same sum for each, so 10 planes see 10/3 of it
    first = next(module for module in pictures.modules() if isinstance(module, nn.Conv2d))
    own = next(module for module in flow.modules() if isinstance(module, nn.Conv2d))
    plane = torch.rand(1, 1, 16, 16)
    bias = 0 if first.bias is None else first.bias.view(1, -1, 1, 1)
    seen, expected = own(plane.expand(-1, 10, -1, -1)) - bias, first(plane.expand(-1, 3, -1, -1)) - bias
    torch.testing.assert_close(seen, expected * 10 / 3)
    with pytest.raises(RuntimeError, match="Missing key"):
        flow.start_from({next(iter(pictures.state_dict())): torch.zeros_like(first.weight)})


def test_the_names_in_mobilenets_weights_are_torchvisions():
    names = set(made("mobilenet-v2").state_dict())
    assert {"features.0.0.weight", "features.1.conv.4.bias", "features.17.conv.7.running_var"} <= names
    assert {name.split(".")[1] for name in names} == {str(number) for number in range(19)}


def test_bn_inception_halves_as_caffe_does_where_sizes_are_even():
    x = torch.rand(1, 2, 12, 28)
    torch.testing.assert_close(halved(x), nn.functional.max_pool2d(x, 3, 2, ceil_mode=True))


def test_pictures_are_normalised_as_for_imagenet():
    grey = normalised(torch.full((2, 3, 4, 4), 0.5))
    torch.testing.assert_close(grey[0, :, 0, 0], torch.tensor([0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225]))


def test_modules_that_mix_frames_are_told_the_length():
    class Sum(Temporal):
        def forward(self, x, length):
            return x.unflatten(0, (-1, length)).sum(1)

    assert through(Sum(), torch.ones(6, 1), 3).shape == (2, 1)
    assert through(nn.Identity(), torch.ones(6, 1), 3).shape == (6, 1)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="no backbone is called 'alexnet'; there are: bn-inception, resnet-50"):
        make_backbone("alexnet")
