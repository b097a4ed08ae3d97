import math

import pytest
import torch
from torch import Tensor, nn

from refilm.models import create_model
from refilm.models.geodesic import Geodesic, GeodesicConfig, geometric_prior, length_loss, speed_loss, straight
from refilm.models.table import PARTS

POINTS = GeodesicConfig(shape=(3,), code=2, width=16, halvings=0, bend=8)
PICTURES = GeodesicConfig(shape=(3, 16, 24), code=4, width=4, halvings=2, bend=8)


def bent(config):
    """A space in double precision whose interpolation network is not at its start."""
    torch.manual_seed(0)
    model = Geodesic(config).double()
    for parameter in model.bend.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def ends(model, pairs=3):
    return torch.randn(2, pairs, model.config.code, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", [POINTS, PICTURES], ids=["points", "pictures"])
def test_shapes_are_those_of_the_docstrings(config):
    model = Geodesic(config)
    samples = torch.rand(5, *config.shape)
    codes = model.encode(samples)
    assert codes.shape == (5, config.code)
    assert model(samples).shape == model.decode(codes).shape == samples.shape
    curve = model.curve(codes[:2], codes[2:4], torch.rand(2, 7))
    assert curve.samples.shape == curve.velocity.shape == (2, 7, *config.shape)
    assert curve.speed.shape == model.speed(codes[:2], codes[2:4], torch.rand(2, 7)).shape == (2, 7)


def test_the_end_points_are_exact():
    model = bent(POINTS)
    z0, z1 = ends(model)
    found = model.between(z0, z1, torch.tensor([0.0, 1.0], dtype=torch.float64).expand(3, -1))
    assert torch.equal(found[:, 0], z0)
    assert torch.equal(found[:, 1], z1)
    middle = torch.full((3, 1), 0.5, dtype=torch.float64)
    assert (model.between(z0, z1, middle) - straight(z0, z1, middle)).abs().min() > 1e-4


def test_the_way_back_is_the_same_and_the_way_to_itself_rests():
    model = bent(POINTS)
    z0, z1 = ends(model)
    times = torch.rand(3, 5, dtype=torch.float64)
    torch.testing.assert_close(model.between(z1, z0, 1 - times), model.between(z0, z1, times))
    assert torch.equal(model.between(z0, z0, times), z0[:, None].expand(-1, 5, -1))


def test_curves_begin_as_straight_lines():
    model = Geodesic(POINTS)
    z0, z1 = torch.randn(2, 3, 2)
    times = torch.rand(3, 5)
    assert torch.equal(model.between(z0, z1, times), straight(z0, z1, times))


@pytest.mark.parametrize("is_straight", [False, True])
@pytest.mark.parametrize("config", [POINTS, PICTURES], ids=["points", "pictures"])
def test_the_velocity_is_that_of_finite_differences(config, is_straight):
    model = bent(config)
    z0, z1 = ends(model)
    times, step = 0.1 + 0.8 * torch.rand(3, 4, dtype=torch.float64), 1e-5

    def x(t: Tensor) -> Tensor:
        codes = straight(z0, z1, t) if is_straight else model.between(z0, z1, t)
        return model.decode(codes.flatten(0, 1)).unflatten(0, t.shape)

    slow = (x(times + step) - x(times - step)) / (2 * step)
    curve = model.curve(z0, z1, times, is_straight)
    torch.testing.assert_close(curve.samples, x(times))
    torch.testing.assert_close(curve.velocity, slow, rtol=1e-5, atol=1e-7)


def test_the_speed_is_that_of_the_metric_which_the_decoder_induces():
    model = bent(POINTS)
    z0, z1 = ends(model, pairs=1)
    t, step = torch.tensor([[0.3]], dtype=torch.float64), 1e-5
    z = model.between(z0, z1, t)[0, 0]
    dz = (model.between(z0, z1, t + step) - model.between(z0, z1, t - step))[0, 0] / (2 * step)
    metric = model.metric(z)
    torch.testing.assert_close(metric, metric.T)
    assert torch.linalg.eigvalsh(metric).min() >= 0
    torch.testing.assert_close(model.curve(z0, z1, t).speed[0, 0], (dz @ metric @ dz).sqrt(), rtol=1e-6, atol=0)


def test_from_a_curve_at_rest_only_the_interpolation_network_learns():
    model = bent(POINTS)
    z0, z1 = ends(model).requires_grad_()
    curve = model.curve_in_rest(z0, z1, torch.rand(3, 8, dtype=torch.float64))
    (speed_loss(curve.speed) + length_loss(curve.speed)).backward()
    assert all(parameter.grad is not None for parameter in model.bend.parameters())
    assert all(parameter.grad is None for parameter in (*model.encoder.parameters(), *model.decoder.parameters()))


def test_losses_are_the_squared_variation_and_the_log_of_the_length():
    assert speed_loss(torch.full((2, 9), 3.0)) == 0
    speed = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    torch.testing.assert_close(speed_loss(speed), torch.tensor(0.5 * 2.0 / 4.0))
    torch.testing.assert_close(length_loss(speed), torch.tensor(math.log(2)))
    torch.testing.assert_close(speed_loss(speed), speed_loss(100 * speed))


def test_the_prior_is_zero_where_codes_are_as_far_apart_as_wanted():
    codes = torch.randn(6, 2)
    distances = torch.cdist(codes, codes)
    assert geometric_prior(codes, distances) < 1e-8
    assert geometric_prior(2 * codes, distances) > 0.5
    distances[0, 1:] = distances[1:, 0] = math.inf  # no chain of neighbours leads to the first
    codes = codes.clone()
    codes[0] += 100
    assert geometric_prior(codes, distances) < 1e-8


class Polar(nn.Module):
    """The plane in polar coordinates, as a decoder: its geodesics are straight lines in the plane."""

    def forward(self, codes: Tensor) -> Tensor:
        radius, angle = codes.unbind(1)
        return torch.stack([radius * angle.cos(), radius * angle.sin(), torch.zeros_like(radius)], dim=1)


def test_both_losses_together_find_the_geodesics_of_a_known_surface():
    torch.manual_seed(0)
    model = Geodesic(GeodesicConfig(shape=(3,), code=2, halvings=0, bend=48))
    model.decoder = Polar()
    z0 = torch.tensor([[1.0, 0.0], [1.0, 0.2]])
    z1 = torch.tensor([[2.0, 1.8], [1.5, 1.9]])
    known = (model.decode(z1) - model.decode(z0)).norm(dim=1)
    times = torch.linspace(0, 1, 101).expand(2, -1)
    before = model.curve(z0, z1, times).speed
    optimiser = torch.optim.Adam(model.bend.parameters(), lr=1e-2)
    for _ in range(150):
        drawn = (torch.arange(8) + torch.rand(2, 8)) / 8
        speed = model.curve_in_rest(z0, z1, drawn).speed
        optimiser.zero_grad()
        (speed_loss(speed) + length_loss(speed)).backward()
        optimiser.step()
    after = model.curve(z0, z1, times).speed.detach()
    assert (before.mean(dim=1) / known).min() > 1.1
    assert ((after.mean(dim=1) / known - 1).abs() < 0.01).all()
    assert (after.std(dim=1) / after.mean(dim=1)).max() < 0.05


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 8, got \[3, 20, 24\]"):
        GeodesicConfig(shape=(3, 20, 24))
    with pytest.raises(ValueError, match=r"\[n\] for points or \[C, H, W\]"):
        GeodesicConfig(shape=(3, 4), halvings=0)


@pytest.mark.parametrize("name", [name for name, row in PARTS.items() if row.task == "morphing"])
def test_every_space_of_the_table_is_made(name):
    model = create_model(name, weights=None)
    assert model.task == "morphing"
    assert model(torch.rand(2, *model.shape)).shape == (2, *model.shape)
