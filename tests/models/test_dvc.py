"""DVC and the scale hyperprior as networks."""

import pytest
import torch

from refilm.layers.optical_flow import DIS, luma
from refilm.models import create_model
from refilm.models.dvc import DVC, DVCConfig
from refilm.models.hyperprior import ScaleHyperprior, ScaleHyperpriorConfig

# Of the authors' PyTorch code, part by part: layers that are the paper's own. 4.75 M altogether.
PAPER = {
    "spynet": 960_200,
    "motion_encoder": 1_035_520,
    "motion_decoder": 1_035_394,
    "compensate": 448_387,
    "residual_encoder": 375_968,
    "residual_decoder": 375_875,
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_papers_size_is_the_papers():
    model = create_model("dvc", weights=None)
    assert {name: count(getattr(model, name)) for name in PAPER} == PAPER
    networks = count(model.hyperprior.h_a) + count(model.hyperprior.h_s)
    assert networks == 260_288 + 260_320
    assert round(count(model) / 1e6, 2) == pytest.approx(4.75, abs=0.02), "with gains and distributions of our own"


def test_the_hyperprior_has_the_papers_size():
    """Ballé 2018 with N = 128, M = 192: the transforms and hyper transforms of figure 4."""
    model = ScaleHyperprior(ScaleHyperpriorConfig())
    assert count(model.g_a[0]) == 128 * 3 * 25 + 128
    assert count(model.g_a[-1]) == 192 * 128 * 25 + 192
    assert count(model.hyperprior.h_s[-1]) == 192 * 128 * 9 + 192


def test_what_ships_is_small():
    assert 0.5e6 < count(create_model("dvc-small", weights=None)) < 1.5e6
    assert 0.5e6 < count(create_model("hyperprior-small", weights=None)) < 1.5e6


@pytest.fixture(scope="module")
def pictures():
    """Two frames of 64x96 of smooth noise, the second of them moved by two pixels. [1, 3, 64, 96] each"""
    torch.manual_seed(0)
    noise = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 20), (72, 120), mode="bicubic").clamp(0, 1)
    return noise[..., 4:68, 10:106], noise[..., 4:68, 12:108]


@torch.no_grad()
@pytest.mark.parametrize("quality", [4, 7])
def test_an_untrained_codec_works_and_qualities_are_in_order(pictures, quality):
    """Its layers begin as a wavelet transform, and motion is followed."""
    torch.manual_seed(0)
    first, second = pictures
    model = create_model("dvc-small", weights=None).eval()
    flow = DIS().one_way(luma(second), luma(first))
    flow = torch.nn.functional.avg_pool2d(flow, 2)
    q = torch.tensor([quality])
    predicted = model.predicted(flow, first, q)
    coded = model.coded(second, predicted.prediction, q)
    before, warped, decoded = ((x - second).square().mean() for x in (first, predicted.warped, coded.frame))
    assert decoded < warped < before
    finer = model.coded(second, predicted.prediction, torch.tensor([7]))
    assert (finer.bits >= coded.bits).all()


@torch.no_grad()
def test_a_batch_may_have_a_quality_for_each_frame(pictures):
    first, second = pictures
    torch.manual_seed(0)
    model = create_model("hyperprior-small", weights=None).eval()
    both = model.coded(torch.cat((first, second)), torch.tensor([1, 6]))
    for number, (frame, quality) in enumerate(((first, 1), (second, 6))):
        alone = model.coded(frame, torch.tensor([quality]))
        torch.testing.assert_close(both.bits[number], alone.bits[0], rtol=1e-3, atol=1.0)
        torch.testing.assert_close(both.frame[number], alone.frame[0], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_pan_takes_fewer_bits_as_differences():
    """The same motion everywhere is told once, in the corner, and not at each place."""
    plain, differences = (
        DVC(DVCConfig(motion="dis", motion_channels=8, motion_latents=8, motion_differences=count)).eval()
        for count in (0, 2)
    )
    differences.load_state_dict(plain.state_dict())
    latent = torch.zeros(1, 8, 6, 5)
    latent[:, 0], latent[:, 1] = 9.0, -4.0
    q = torch.tensor([4])
    still, pan, told_once = (
        float(model.bits_of_motion(values, values, q))
        for model, values in ((plain, torch.zeros_like(latent)), (plain, latent), (differences, latent))
    )
    assert still < told_once < still + (pan - still) / 10


@torch.no_grad()
def test_distributions_are_as_exact_under_mixed_precision():
    """Bits are differences of numbers near each other: bfloat16 overestimated them by some 4 %."""
    torch.manual_seed(0)
    model = create_model("dvc-small", weights=None).eval()
    latent, q = 6 * torch.randn(1, model.config.motion_latents, 4, 6), torch.tensor([4])
    found = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            y = 3 * torch.randn(1, model.config.latents, 4, 6, generator=torch.Generator().manual_seed(1))
            found.append(float(model.bits_of_motion(latent.round(), latent.round(), q) + model.hyperprior(y)))
    assert found[1] == pytest.approx(found[0], rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"motion": "guess"}, "motion must be"),
        ({"motion_layers": "thick"}, "motion_layers must be"),
        ({"shuffle": 3}, "shuffle 1, 2 or 4"),
        ({"motion_differences": 200}, "from 0 to motion_latents"),
        ({"lambdas": [512.0, 256.0]}, "ascend"),
    ],
)
def test_configs_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DVC(DVCConfig(**fields))
