import pytest
import torch

from refilm.data.manifolds import SETS, object_at, slanted
from refilm.evaluation.geodesic import MOMENTS, WAYS, Pairs, Seen, angles_of, figures_of, held_out_pairs
from refilm.models import create_model


class Plane(torch.nn.Module):
    """A space of which the codes are the samples, so that every way is straight."""

    def __init__(self):
        super().__init__()
        self.model = create_model("geodesic-s-curve", weights=None, code=3)
        self.model.encoder = self.model.decoder = torch.nn.Identity()

    def __getattr__(self, name):
        return super().__getattr__(name) if name == "model" else getattr(self.model, name)


def a_way_on_the_curve(pairs, times):
    from refilm.data.manifolds import curve_at

    places = torch.lerp(pairs.places[:, :1], pairs.places[:, 1:], times[..., None])
    return torch.from_numpy(curve_at(*places.double().unbind(2))).float()


def test_the_geodesic_of_a_surface_has_its_length_and_a_constant_speed():
    pairs = held_out_pairs("s-curve", 8)
    samples = a_way_on_the_curve(pairs, torch.linspace(0, 1, 2001).expand(8, -1))
    steps = samples.diff(dim=1).norm(dim=2) * 2000
    figures = figures_of("s-curve", pairs, Seen(samples, torch.cat([steps, steps[:, -1:]], dim=1)))
    assert figures["length_ratio"] == pytest.approx([1.0] * 8, abs=0.01)
    assert max(figures["variation"]) < 0.02
    assert max(figures["off"]) < 0.01


def test_a_cross_fade_is_even_and_leaves_the_surface():
    pairs = held_out_pairs("s-curve", 8)
    figures = figures_of("s-curve", pairs, WAYS["cross-fade"](Plane(), pairs))
    assert max(figures["variation"]) < 1e-3
    assert max(figures["length_ratio"]) < 1
    assert sum(figures["off"]) / 8 > 0.05


@pytest.mark.parametrize("way", WAYS)
def test_every_way_leads_from_the_first_sample_to_the_second(way):
    pairs = held_out_pairs("s-curve", 3)
    seen = WAYS[way](Plane(), pairs)
    assert seen.samples.shape == (3, MOMENTS, 3)
    assert seen.speed.shape == (3, MOMENTS)
    torch.testing.assert_close(seen.samples[:, 0], pairs.first)
    torch.testing.assert_close(seen.samples[:, -1], pairs.second)


def test_pairs_are_held_out_and_far_enough_apart():
    pairs = held_out_pairs("objects", 6)
    assert len(pairs) == 6
    assert (pairs.places[:, 1] - pairs.places[:, 0]).abs().min() >= 60
    train = SETS["s-curve"]("train").samples
    assert torch.cdist(held_out_pairs("s-curve", 50).first, train).min() > 0


def test_the_angle_of_an_object_is_found():
    wanted = torch.tensor([[20.0, 95.0, 170.0]])
    samples = torch.stack([object_at(2, float(angle)) for angle in wanted[0]])[None]
    pairs = Pairs(samples[:, 0], samples[:, 2], torch.zeros(1, 2, 1), torch.tensor([2]))
    assert torch.equal(angles_of("objects", pairs, samples), wanted)


def test_the_uniform_truth_has_no_error_and_the_classifier_knows_its_digits():
    pytest.importorskip("sklearn")
    pairs = held_out_pairs("slant", 4)
    slants = torch.lerp(pairs.places[:, :1], pairs.places[:, 1:], torch.linspace(0, 1, 9)[None, :, None])[..., 0]
    truth = torch.stack([slanted(pairs.upright[k].expand(9, -1, -1, -1), slants[k]) for k in range(4)])
    assert max(figures_of("slant", pairs, Seen(truth, torch.ones(4, 9)))["error"]) < 0.3
    digits = held_out_pairs("digits", 20)
    seen = Seen(digits.first[:, None].expand(-1, 2, -1, -1, -1), torch.ones(20, 2))
    assert sum(figures_of("digits", digits, seen)["confidence"]) / 20 > 0.9
