from fractions import Fraction

import pytest
import torch
from torch import nn

from refilm.layers.conv3d import Conv3d
from refilm.layers.ls3d import LS3DConv
from refilm.models import create_model, list_models
from refilm.models.vi_ls3d import VILS3D, VILS3DConfig, blend, match, sample


def tiny(**config):
    torch.manual_seed(0)
    return VILS3D(VILS3DConfig(channels=8, **config))


def test_time_grows_from_two_frames_to_three_to_five():
    model, frames = tiny(), []
    for layer in model.interpolation:
        layer.register_forward_hook(lambda layer, inputs, out: frames.append(out.shape[2]))
    assert model.network(torch.rand(1, 3, 2, 16, 20)).shape == (1, 3, 5, 16, 20)
    assert frames == [2, 2, 3, 3, 3, 5, 5, 5]


def test_the_papers_network_has_six_ls3d_blocks_and_its_baseline_none():
    def count(model):
        return sum(isinstance(module, LS3DConv) for module in model.modules())

    assert count(create_model("vi-ls3d", weights=None)) == 6
    assert count(create_model("vi-ls3d", weights=None, ls3d_blocks=())) == 0
    blocks = [layer for layer in tiny(ls3d_blocks=[5, 6]).interpolation if hasattr(layer, "conv1")]
    assert [isinstance(block.conv1, LS3DConv) for block in blocks] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("blocks", [(), (1, 2, 3, 4, 5, 6)])
def test_parameter_counts(blocks):
    c, k = 64, 27
    conv = c * c * k + c
    # encoder; twelve convolutions of the blocks and two deconvolutions; decoder with 4x4 kernels, to nine planes
    expected = (3 * c * k + c) + conv + 14 * conv + (c * c * 48 + c) + (c * 9 * 48 + 9)
    expected += len(blocks) * (c * 81 * k + 81)
    model = create_model("vi-ls3d", weights=None, ls3d_blocks=blocks)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("skip", ["blend", "sampled"])
def test_an_untrained_network_is_the_linear_blend(skip):
    clip = torch.rand(1, 3, 2, 8, 12)
    torch.testing.assert_close(tiny(skip=skip)(clip), blend(clip), rtol=0, atol=1e-5)


def test_offsets_shift_the_frame_they_belong_to():
    clip = torch.rand(1, 3, 2, 8, 8)
    sampling = torch.zeros(1, 6, 5, 8, 8)
    sampling[:, 1] = 0.25  # one pixel to the right, into the first frame
    shifted = sample(clip, sampling)
    torch.testing.assert_close(shifted[:, :, 0, :, :-1], clip[:, :, 0, :, 1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(shifted[:, :, 4], clip[:, :, 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("skip", ["none", "blend", "sampled"])
def test_gradient_reaches_every_parameter(skip):
    model = tiny(skip=skip)
    for name, parameter in model.named_parameters():
        if "sampling.weight" in name or name == "decoder.2.weight":
            nn.init.normal_(parameter, std=0.05)  # zero at the start, and a zero stops what lies before it
    model.network(torch.rand(1, 3, 2, 16, 16)).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_between_gives_quarters_from_one_pass_and_the_nearest_sixteenth_elsewhere():
    model, clip = tiny().eval(), torch.rand(1, 3, 2, 8, 8)
    nn.init.normal_(model.decoder[-1].weight, std=0.05)
    times = [Fraction(1, 2), Fraction(1, 4), Fraction(1, 3), Fraction(1, 100)]
    with torch.no_grad():
        out, five = model.between(clip, times), model.network(clip)
        inner = model.network(five[:, :, 1:3])  # 1/3 is nearest to 5/16, a quarter of the way from 1/4 to 1/2
    assert out.shape == (1, 3, 4, 8, 8)
    for i, expected in enumerate([five[:, :, 2], five[:, :, 1], inner[:, :, 1], clip[:, :, 0]]):
        torch.testing.assert_close(out[:, :, i], expected)


def test_between_can_take_middles_of_middles():
    model, clip = tiny(own_quarters=False).eval(), torch.rand(1, 3, 2, 8, 8)
    nn.init.normal_(model.decoder[-1].weight, std=0.05)
    with torch.no_grad():
        out = model.between(clip, [Fraction(3, 4), Fraction(1, 2)])
        middle = model.network(clip)[:, :, 2]
        later = model.network(torch.stack([middle, clip[:, :, 1]], dim=2))[:, :, 2]
    torch.testing.assert_close(out, torch.stack([later, middle], dim=2))


def test_a_call_gives_the_pair_and_what_is_between():
    for own_quarters in (True, False):
        model, clip = tiny(own_quarters=own_quarters).eval(), torch.rand(1, 3, 2, 8, 8)
        nn.init.normal_(model.decoder[-1].weight, std=0.05)
        with torch.no_grad():
            five = model(clip)
            middle = model.between(clip, [Fraction(n, 4) for n in (1, 2, 3)])
        assert torch.equal(five, torch.cat([clip[:, :, :1], middle, clip[:, :, 1:]], dim=2))


def test_own_convolutions_equal_pytorchs():
    model, x = tiny(ls3d_blocks=()), torch.randn(1, 8, 2, 9, 7)
    upsample = model.interpolation[2]
    torch.testing.assert_close(upsample(x), nn.ConvTranspose3d.forward(upsample, x), rtol=1e-4, atol=2e-5)
    conv = Conv3d(8, 4, 3, stride=(1, 2, 2), padding=1)
    torch.testing.assert_close(conv(x), nn.Conv3d.forward(conv, x), rtol=1e-4, atol=2e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"VILS3D takes a clip .*, 2 RGB frames, got \[1, 3, 3, 8, 8\]"):
        tiny()(torch.rand(1, 3, 3, 8, 8))
    with pytest.raises(ValueError, match="multiples of 4, got 9 x 8; pad"):
        tiny()(torch.rand(1, 3, 2, 9, 8))
    with pytest.raises(ValueError, match="between 0 and 1"):
        tiny().between(torch.rand(1, 3, 2, 8, 8), [Fraction(1)])
    with pytest.raises(ValueError, match="blocks out of"):
        VILS3DConfig(ls3d_blocks=(7,))
    with pytest.raises(ValueError, match="no model is called 'vi-ls3'; did you mean vi-ls3d"):
        create_model("vi-ls3")
    with pytest.raises(ValueError, match="no config field 'width'"):
        create_model("vi-ls3d", weights=None, width=3)


def test_models_are_listed_by_pattern():
    assert {"vi-ls3d", "vi-ls3d-small"} <= set(list_models("*ls3d*"))


def test_matching_finds_a_scene_that_moves_along_a_straight_line():
    noise = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(0))
    wide = nn.functional.interpolate(noise, scale_factor=8, mode="bicubic").clamp(0, 1)
    clip = torch.stack([wide[:, :, :, 20:116], wide[:, :, :, 28:124]], dim=2)
    best = match(clip)[0, -2:]
    # 8 pixels to the left from frame to frame: 4 on each side of the middle, 2 of the RADIUS = 4 at half size
    assert best.flatten(1).median(dim=1).values.tolist() == pytest.approx([0, -0.5], abs=0.05)


def test_matching_only_adds_its_own_layer():
    model = tiny(matching=True, ls3d_blocks=())
    assert model(torch.rand(1, 3, 2, 16, 20)).shape == (1, 3, 5, 16, 20)
    extra = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in tiny(ls3d_blocks=()).parameters())
    assert extra == 83 * 8 * 9 + 8
