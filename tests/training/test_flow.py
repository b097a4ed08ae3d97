import json

import pytest
import torch

pytest.importorskip("lightning")

from refilm.data import Pack
from refilm.data.pack import Clip
from refilm.models import create_model
from refilm.models.pwc_net import PWCNet
from refilm.training import export, read_recipe, train
from refilm.training.config import FlowConfig
from refilm.training.flow import Flow, distance_on_level, masked_mean, photometric, roughness, warped_by
from refilm.training.moving_pairs import Pairs, PairSampler
from refilm.training.train import create_problem

RECIPE = """
model = "pwc-small"
config = { levels = 3, features = [8, 4], radius = 2, decoder = [8] }
train = ["pack"]
val = "pack"
crop = 64
batch = 2
steps = 2
led_until = 1
val_every = 1
val_frames = 1
"""


@pytest.fixture
def recipe(pack, tmp_path):
    (tmp_path / "flow.toml").write_text(RECIPE)
    return tmp_path / "flow.toml"


def texture(height, width):
    coarse = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]


@pytest.fixture(scope="module")
def panning():
    """Ten frames of a texture that moves by (dx, dy) = (-4, -1) pixels a frame."""
    wide = texture(240, 400)
    frames = torch.stack([wide[:, t : t + 200, 4 * t : 4 * t + 320] for t in range(10)])
    return Pack([Clip("a.mkv", "s", 10, 320, 200, 5.0, 1)], [frames.mul(255).byte()])


def sampler(pack, **fields):
    return PairSampler(pack, FlowConfig(model="pwc-small", crop=128, batch=4, **fields))


def test_trains_and_exports_weights_that_load(recipe, tmp_path):
    checkpoint = train(recipe, out=tmp_path / "run", device="cpu")
    path = export(checkpoint, tmp_path / "weights")
    assert path.name.startswith("pwc-small-")
    network = create_model("pwc-small", weights=path)
    assert isinstance(network, PWCNet)
    assert network.config.decoder == (8,)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["led_until"] == 1


def test_the_same_step_draws_the_same_batch(recipe):
    losses = []
    for step in (3, 3, 4):
        problem = create_problem(read_recipe(recipe))
        assert isinstance(problem, Flow)
        problem.log_dict = lambda *_, **__: None
        losses.append(problem.loss_of(step).item())
    assert losses[0] == losses[1] != losses[2]


def test_all_parameters_learn(recipe):
    problem = create_problem(read_recipe(recipe))
    problem.log_dict = lambda *_, **__: None
    for step in (1, 2):  # the decoder learns once its last layers are no longer zero
        problem.loss_of(step).backward()
        for parameter in problem.model.parameters():
            assert parameter.grad is not None
            parameter.data += 1e-3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    assert all(parameter.grad.abs().sum() > 0 for parameter in problem.model.parameters())


def test_a_plain_crop_has_the_motion_of_the_film(panning):
    pairs = sampler(panning, gaps=(2,), zoom=(1.0, 1.0), turn=0.0, shifted=0.0, crossed=0.0).draw(0)
    for n in range(4):
        there, back = pairs.flows[:, n, :, 32:-32, 32:-32].flatten(2).median(-1).values
        # mirrored or not
        assert there.abs().tolist() == pytest.approx([8, 2], abs=0.2)
        torch.testing.assert_close(there, -back, atol=0.2, rtol=0)


@pytest.mark.parametrize("fields", [{"shifted": 1.0, "crossed": 0.0}, {"shifted": 0.0, "crossed": 1.0}, {}])
def test_the_flow_leads_to_the_same_content(panning, fields):
    """However crops are moved, turned, enlarged and covered; what leaves the crop or is covered cannot be checked."""
    pairs = sampler(panning, **fields).draw(1)
    for a, b, flow, known in zip(pairs.luma, pairs.luma.flip(0), pairs.flows, pairs.known, strict=True):
        error = (warped_by(b, flow) - a).abs()
        assert error[known > 0].median() < 0.05 < 2 * (a - b).abs().mean()
        assert known.mean() > 0.2


def test_large_motion_is_drawn(panning):
    sizes = [sampler(panning, shifted=1.0).draw(step).flows.norm(dim=2).amax((2, 3)).max() for step in range(4)]
    assert max(sizes) > 50


def pairs_of(flows):
    return Pairs(torch.zeros(2, 1, 1, 64, 64), flows, torch.ones(2, 1, 1, 64, 64))


def test_the_distance_is_zero_at_what_is_taught_on_every_level():
    flows = torch.randn(2, 1, 2, 1, 1).expand(-1, -1, -1, 64, 64)
    for side in (1, 4, 64):
        taught = flows[..., :side, :side]
        at, beside = (distance_on_level(each, pairs_of(flows)) for each in (taught, taught + 1))
        assert float(at) == pytest.approx(0.1, abs=1e-3)  # the root of 0.01
        assert float(beside) == pytest.approx((2**0.5 + 0.01) ** 0.5, abs=1e-3)


def test_the_photometric_distance_is_least_at_the_true_motion():
    frame = texture(80, 96)[:1]
    frames = torch.stack([frame[:, :64, 5:69], frame[:, :64, :64]])[:, None]
    flow = torch.zeros(2, 1, 2, 64, 64)
    flow[0, :, 0], flow[1, :, 0] = 5.0, -5.0
    assert float(photometric(frames, flow)) < 0.011 < 0.2 * float(photometric(frames, -flow))


def test_a_step_of_the_flow_is_cheap_at_an_edge():
    flow = torch.zeros(2, 1, 2, 32, 32)
    flow[..., 16:] = 5
    edge = torch.zeros(2, 1, 1, 32, 32)
    edge[..., 16:] = 1
    assert roughness(flow, edge) < 0.5 * roughness(flow, torch.zeros_like(edge))


def test_a_mean_over_nothing_is_zero():
    assert float(masked_mean(torch.ones(3), torch.zeros(3))) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop": 72}, "crop must be a multiple of 32"),
        ({"gaps": ()}, "gaps must be distances of at least 1 frame"),
        ({"zoom": (2.0, 1.0)}, "zoom must be the lowest and the highest factor"),
    ],
)
def test_settings_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        FlowConfig(**({"model": "pwc-small", "crop": 64} | fields))
