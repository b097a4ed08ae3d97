"""What the models that restore a frame from its neighbours promise alike, and each by itself."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from refilm.data.degradations import bicubic_up
from refilm.layers.enlargement import linear_taps
from refilm.layers.ls3d import LS3DConv
from refilm.models import MODELS, create_model
from refilm.models.contract import Restorer
from refilm.models.dncnn import DnCNN, DnCNNConfig
from refilm.models.esrgan import ESRGAN, ESRGANConfig, prime_factors
from refilm.models.vdn_ls3d import VDNLS3D, VDNLS3DConfig
from refilm.models.vdsr import VDSR, VDSRConfig
from refilm.models.vsr_duf import VSRDUF, VSRDUFConfig
from refilm.models.vsr_ls3d import VSRLS3D, VSRLS3DConfig
from refilm.ops import dynamic_filter

RESTORERS = [name for name, row in MODELS.items() if Restorer in row.parts()[0].__mro__]
SMALL = {
    "vdn": lambda: VDNLS3D(
        VDNLS3DConfig(channels=8, blocks=3, ls3d_blocks=(1, 2), window=3, shuffle=2, funnel=2, max_offset=1.5)
    ),
    "vsr": lambda: VSRLS3D(VSRLS3DConfig(channels=8, blocks=2, ls3d_blocks=(1,), window=3, funnel=1, max_offset=2)),
    "p3d": lambda: VSRLS3D(VSRLS3DConfig(channels=8, blocks=2, ls3d_blocks=(1, 2), window=3, p3d=True, max_offset=1)),
    "dncnn": lambda: DnCNN(DnCNNConfig(features=8, depth=5, shuffle=2)),
    "off3": lambda: DnCNN(DnCNNConfig(features=8, depth=5, frames=3, shuffle=2)),
    "vdsr": lambda: VDSR(VDSRConfig(features=8, depth=6)),
    "esrgan": lambda: ESRGAN(ESRGANConfig(scale=6, features=8, growth=4, blocks=1)),
    "duf": lambda: VSRDUF(VSRDUFConfig(scale=3, features=8, growth=4, blocks=1, window=5, width=16)),
}


def random(model, spread=0.05):
    """Every parameter moved, so that nothing hides behind a zero; offsets spread over more than they may reach."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, LS3DConv):
                module.sampling.bias[: 2 * module.taps].normal_(std=3)
    return model.eval()


def plain(model, clip):
    centre = clip[:, :, clip.shape[2] // 2]
    return bicubic_up(centre, model.scale) if model.scale > 1 else centre


@pytest.mark.parametrize("name", RESTORERS)
def test_an_untrained_network_is_the_plain_alternative(name):
    model = create_model(name, weights=None)
    assert model.task == MODELS[name].task
    clip = torch.rand(1, 3, model.window, 10, 12)
    if isinstance(model, VSRDUF):  # filters of positive taps, which cannot be bicubic
        linear = F.interpolate(clip[:, :, model.window // 2], scale_factor=model.scale, mode="bilinear")
        torch.testing.assert_close(model(clip), linear, rtol=0, atol=2e-3)
        return
    # MATLAB's bicubic mirrors at the border, PyTorch's leaves out what lies beyond
    inside = (..., slice(8, -8), slice(8, -8)) if model.scale > 1 else ...
    torch.testing.assert_close(model(clip)[inside], plain(model, clip)[inside], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_a_result_depends_on_no_more_than_the_reach(name):
    model = random(SMALL[name]())
    side, reach = 2 * model.reach + 9 + model.size_multiple, model.reach
    side += -side % model.size_multiple
    clip = torch.rand(1, 3, model.window, side, side)
    place = side // 2
    changed = clip.clone()
    outside = torch.ones(side, side, dtype=torch.bool)
    outside[place - reach : place + reach + 1, place - reach : place + reach + 1] = False
    changed[..., outside] = torch.rand(int(outside.sum()))
    one, two = (model(x)[..., model.scale * place, model.scale * place] for x in (clip, changed))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
    assert not torch.allclose(model(clip), model(changed), atol=1e-3)


@pytest.mark.parametrize("name", ["vdn", "vsr", "p3d", "off3", "duf"])
def test_the_neighbours_help(name):
    model = random(SMALL[name]())
    clip = torch.rand(1, 3, model.window, 12, 12, requires_grad=True)
    model(clip).square().sum().backward()
    assert all(clip.grad[:, :, t].abs().max() > 0 for t in range(model.window))


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name):
    model = SMALL[name]()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(0)
    clip = torch.rand(2, 3, model.window, 12, 12)
    target = torch.rand(2, 3, 12 * model.scale, 12 * model.scale)
    # twice: what stands before a layer of zeros moves only after it
    for _ in range(3):
        optimizer.zero_grad()
        (model(clip) - target).square().mean().backward()
        optimizer.step()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still


def test_a_denoiser_takes_the_strength_or_finds_it():
    for model in (random(SMALL["vdn"]()), random(DnCNN(DnCNNConfig("denoising", features=8, depth=5)))):
        clip = torch.rand(2, 3, model.window, 8, 8)
        blind, weak, strong = (model(clip, sigma) for sigma in (None, 5.0, 50.0))
        assert not torch.allclose(weak, strong)
        assert not torch.allclose(blind, weak)
        each = model(clip, torch.tensor([5.0, torch.nan]))
        torch.testing.assert_close(each, torch.stack([weak[0], blind[1]]))


def test_the_paper_has_seven_frames_and_ls3d_in_every_block():
    for name in ("vsr-ls3d", "vsr-ls3d-p3d", "vdn-ls3d"):
        model = create_model(name, weights=None)
        assert model.window == 7
        layers = [module for module in model.modules() if isinstance(module, LS3DConv)]
        assert len(layers) == model.config.blocks
        kernel = (3, 1, 1) if name == "vsr-ls3d-p3d" else (3, 3, 3)
        assert {layer.kernel_size for layer in layers} == {kernel}
        baseline = create_model(name, weights=None, ls3d_blocks=())
        assert not any(isinstance(module, LS3DConv) for module in baseline.modules())


def test_dncnn_has_twenty_convolutions_and_off_adds_its_branches():
    def count(name):
        return sum(isinstance(module, nn.Conv2d) for module in create_model(name, weights=None).modules())

    assert count("dncnn") == 20
    assert count("dncnn-off2") == 20 + 6
    assert count("dncnn-off3") == 20 + 2 * 6
    # DnCNN of Zhang et al. without batch normalisation, 64 features, colour
    parameters = sum(p.numel() for p in create_model("dncnn", weights=None).parameters())
    assert parameters == (3 * 64 * 9 + 64) + 18 * (64 * 64 * 9 + 64) + (64 * 3 * 9 + 3)


def parameters(name, **fields):
    return sum(p.numel() for p in create_model(name, weights=None, **fields).parameters())


def test_vdsr_has_twenty_convolutions_of_64_features():
    assert parameters("vdsr") == (3 * 64 * 9 + 64) + 18 * (64 * 64 * 9 + 64) + (64 * 3 * 9 + 3)
    # a receptive field of 41 x 41 large pixels (3.1), and what bicubic enlargement sees beyond
    assert create_model("vdsr", weights=None).reach == 20 // 4 + 2


def test_esrgan_is_the_published_network():
    assert parameters("esrgan") == 16_697_987
    assert [prime_factors(scale) for scale in (2, 3, 4, 12)] == [[2], [3], [2, 2], [2, 2, 3]]
    assert parameters("esrgan", scale=2) == 16_697_987 - (64 * 64 * 9 + 64)


@pytest.mark.parametrize(("name", "blocks", "growth"), [("vsr-duf-16", 6, 32), ("vsr-duf-52", 24, 16)])
def test_vsr_duf_has_the_layers_of_its_name(name, blocks, growth):
    model = create_model(name, weights=None)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv3d)]
    assert len(layers) - len(model.residual) + 1 == int(name.rpartition("-")[2])  # the residual lies beside the filters
    widths = [64 + n * growth for n in range(blocks + 1)]
    dense = sum(c * c + c + 27 * c * growth + growth + 4 * c for c in widths[:-1])
    last = widths[-1]
    heads = (256 * 256 + 256) + (256 * 48 + 48) + (256 * 512 + 512) + (512 * 400 + 400)
    assert parameters(name) == (3 * 9 * 64 + 64) + dense + (2 * last + 9 * last * 256 + 256) + heads
    assert model.window == 7


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_filters_of_linear_enlargement_enlarge_linearly(scale):
    frame = torch.rand(1, 3, 6, 7)
    filters = linear_taps(scale, 3)[None, ..., None, None].expand(-1, -1, -1, 6, 7).contiguous()
    inside = (..., slice(scale, -scale), slice(scale, -scale))
    linear = F.interpolate(frame, scale_factor=scale, mode="bilinear")
    torch.testing.assert_close(dynamic_filter(frame, filters)[inside], linear[inside])


def test_dynamic_filters_do_not_darken_the_border():
    model = random(SMALL["duf"]())
    nn.init.zeros_(model.residual[-1].weight)
    nn.init.zeros_(model.residual[-1].bias)
    white = torch.ones(1, 3, 5, 9, 9)
    torch.testing.assert_close(model(white), torch.ones(1, 3, 27, 27))


def test_off2_does_not_look_ahead():
    model = random(DnCNN(DnCNNConfig(features=8, depth=5, frames=2)))
    clip = torch.rand(1, 3, 3, 8, 8)
    changed = clip.clone()
    changed[:, :, 2] = 0
    torch.testing.assert_close(model(clip), model(changed))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: VDNLS3DConfig(window=4), "window must be odd, so that there is a middle frame, got 4"),
        (lambda: VDNLS3DConfig(funnel=9), "funnel must be one of the 8 blocks, got 9"),
        (lambda: VDNLS3DConfig(funnel=2), r"ls3d_blocks must be within 1 ... 2, where there are frames to sample"),
        (lambda: VSRLS3DConfig(scale=1), "scale must be at least 2, got 1"),
        (lambda: VDSRConfig(depth=1), "scale and depth must be at least 2, got 4 and 1"),
        (lambda: ESRGANConfig(scale=1), "scale must be at least 2, got 1"),
        (lambda: VSRDUFConfig(scale=1), "scale must be at least 2, got 1"),
        (lambda: VSRDUFConfig(window=4), "window must be odd and at least 3, got 4"),
        (lambda: DnCNNConfig(frames=4), "frames must be 1, 2 or 3, got 4"),
        (lambda: DnCNNConfig(depth=3), "depth must be at least 4, got 3"),
        (lambda: SMALL["vdn"]()(torch.rand(1, 3, 5, 8, 8)), r"VDNLS3D takes a clip \[N, 3, 3, H, W\], 3 RGB frames"),
        (lambda: SMALL["vdn"]()(torch.rand(1, 3, 3, 8, 9)), "multiples of 2, got 8 x 9; pad the clip first"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
