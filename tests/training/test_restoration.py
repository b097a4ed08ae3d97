import json

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

pytest.importorskip("lightning")

from refilm.errors import RefilmError
from refilm.layers.backbones import make_backbone
from refilm.layers.sampling import pixel_grid, sample
from refilm.models import create_model
from refilm.training import export, read_recipe, train
from refilm.training.restoration import Restoration
from refilm.training.super_resolution_losses import motion_weights, siamese_terms, weighted_squared_error
from refilm.training.train import create_problem

HEAD = """
train = ["pack"]
val = "pack"
crop = 16
batch = 2
steps = 2
val_every = 1
val_frames = 1
"""
RECIPES = {
    "vdn": 'model = "vdn-ls3d-small"\nconfig = { channels = 8, blocks = 2, align = false }\n',
    "denoise": 'model = "dncnn-denoise-small"\nconfig = { features = 8, depth = 4 }\nprecision = "bfloat16"\n',
    "off": 'model = "dncnn-off3-small"\nconfig = { features = 8, depth = 4 }\ncompression = ["h264 40", "hevc 37"]\n',
    "vsr": 'model = "vsr-ls3d-small"\nconfig = { channels = 8, blocks = 2, align = false }\nprecision = "bfloat16"\n',
    "real": 'model = "vsr-real-small"\nconfig = { channels = 8, blocks = 2, align = false }\nkernel = "real"\n',
}


@pytest.fixture
def recipe(pack, tmp_path):
    def write(name):
        path = tmp_path / f"{name}.toml"
        path.write_text(RECIPES[name] + HEAD)
        return path

    return write


@pytest.mark.parametrize("name", RECIPES)
def test_trains_and_exports_weights_that_load(name, recipe, tmp_path):
    checkpoint = train(recipe(name), out=tmp_path / "run", device="cpu")
    path = export(checkpoint, tmp_path / "weights")
    config = read_recipe(recipe(name))
    model = create_model(config.model, weights=path)
    assert sum(p.numel() for p in model.parameters()) < 60_000  # the recipe's width, not the table's


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_step_draws_the_same_batch(name, recipe):
    losses = []
    for step in (3, 3, 4):
        problem = create_problem(read_recipe(recipe(name)))
        problem.log_dict = lambda *_, **__: None
        losses.append(float(problem.loss_of(step)))
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_starts_at_the_plain_alternatives(recipe):
    """An untrained network is the identity, so what is logged as its gain is nothing."""
    logged = {}
    for name in RECIPES:
        problem = create_problem(read_recipe(recipe(name)))
        problem.log_dict = lambda values, **_: logged.update(values)
        problem.loss_of(0)
        assert float(logged["gain_db"]) == pytest.approx(0, abs=0.05)


def test_noise_has_the_strength_that_is_told(recipe):
    problem = create_problem(read_recipe(recipe("vdn"), ["sigma=[20.0, 20.0]", "told=1.0", "crop=32", "batch=8"]))
    assert isinstance(problem, Restoration)
    drawn, random = problem.sampler.draw(0)
    noisy, told = problem._degrade(drawn, random)
    assert told.tolist() == [20.0] * 8
    assert float((noisy - drawn[0]).std() * 255) == pytest.approx(20, rel=0.02)


def test_crops_that_are_not_told_may_have_the_noise_of_films(recipe):
    problem = create_problem(read_recipe(recipe("vdn"), ["sigma=[20.0, 20.0]", "film_noise=1.0", "crop=32", "batch=8"]))
    noisy, told = problem._degrade(*problem.sampler.draw(0))
    levels = noisy * 255
    as_a_file = (levels - levels.round()).abs().amax((1, 2, 3, 4)) < 1e-3
    assert as_a_file.tolist() == told.isnan().tolist()
    assert 0 < as_a_file.sum() < 8


def test_compressed_windows_show_what_the_clean_ones_show(recipe):
    problem = create_problem(read_recipe(recipe("off"), ['compression=["h264 20", "hevc 20"]']))
    clean, compressed = problem.sampler.draw(0)[0]
    assert clean.shape == compressed.shape
    same = (clean - compressed).abs().mean()
    other = (clean - compressed.flip(0)).abs().mean()
    assert 0 < same < 0.5 * other


def test_really_small_windows_show_what_the_large_ones_show(recipe, tmp_path):
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (12, 12, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.resize(noise, (300, 300), interpolation=cv2.INTER_CUBIC))
    photographs = ["synthetic=0.99", f'photographs=["{tmp_path}"]']
    problem = create_problem(read_recipe(recipe("vsr"), ["kernel=real", *photographs, "crop=32", "batch=4"]))
    for step in range(4):
        windows = problem.draw(step)
        assert windows.degraded.shape == (4, 3, 5, 8, 8)
        shown, small = windows.degraded[:, :, 2], F.avg_pool2d(windows.truth, 4)
        assert (shown - small).abs().mean() < 0.5 * (shown - small.flip(0)).abs().mean()


def test_photographs_are_drawn_as_often_as_wanted_but_for_those_kept_aside(recipe, tmp_path):
    for number in range(40):
        level = 250 if (number + 1) % 20 == 0 else 3 * number
        cv2.imwrite(str(tmp_path / f"{number:02d}.png"), np.full((40, 40, 3), level, np.uint8))
    settings = [f'photographs=["{tmp_path}"]', "sigma=[0.0, 0.0]", "batch=16"]
    for share in (0.25, 0.75):
        problem = create_problem(read_recipe(recipe("vdn"), [*settings, f"synthetic={share}"]))
        truth = torch.cat([problem.draw(step).truth for step in range(20)])
        flat = truth.amax((1, 2, 3)) - truth.amin((1, 2, 3)) < 1e-6  # unlike the noise of the pack
        assert float(flat.float().mean()) == pytest.approx(share, abs=0.1)
        assert truth[flat].max() < 250 / 255
    with pytest.raises(RefilmError, match="synthetic is above 0, which asks for photographs"):
        create_problem(read_recipe(recipe("vdn"), ["synthetic=0.5"]))


def test_settings_of_another_task_are_named(recipe):
    with pytest.raises(ValueError, match="unknown key 'guide'"):
        read_recipe(recipe("vdn"), ["guide=1.0"])
    with pytest.raises(ValueError, match="no model is called 'vdn'; there are"):
        read_recipe(recipe("vdn"), ["model=vdn"])


def test_config_is_kept_with_the_checkpoint(recipe, tmp_path):
    train(recipe("off"), out=tmp_path / "run", device="cpu")
    assert json.loads((tmp_path / "run/config.json").read_text())["compression"] == ["h264 40", "hevc 37"]


SOSR = """
model = "sosr-small"
config = { features = 8, growth = 4, blocks = 1 }
loss = "mse"
flow_weighted = true
pixel = 0.01
feature = 1.0
adversarial = 0.005
judge = 4
"""
TOSR = """
model = "tosr-small"
config = { features = 8, growth = 4, blocks = 0, window = 3, width = 8 }
loss = "huber"
siamese = [1.0, 1.0, 1.0, 1.0]
"""


@pytest.fixture
def sosr(pack, tmp_path):
    """A recipe of SoSR, and weights for its features."""
    save_file(make_backbone("mobilenet-v2").state_dict(), tmp_path / "backbone.safetensors")
    path = tmp_path / "sosr.toml"
    path.write_text(SOSR + HEAD.replace("crop = 16", "crop = 32") + 'backbone = "backbone.safetensors"\n')
    return path


@pytest.fixture
def tosr(pack, tmp_path):
    path = tmp_path / "tosr.toml"
    path.write_text(TOSR + HEAD.replace("crop = 16", "crop = 32"))
    return path


@pytest.mark.parametrize("name", ["sosr", "tosr"])
def test_networks_for_recognisers_train_and_export(name, request, tmp_path):
    checkpoint = train(request.getfixturevalue(name), out=tmp_path / "run", device="cpu")
    (tmp_path / "backbone.safetensors").unlink(missing_ok=True)  # a checkpoint has what it needs
    path = export(checkpoint, tmp_path / "weights")
    assert sum(p.numel() for p in create_model(f"{name}-small", weights=path).parameters()) < 20_000


def quiet(recipe, settings=()):
    problem = create_problem(read_recipe(recipe, settings))
    problem.logged = {}
    problem.log_dict = lambda values, **_: problem.logged.update(values)
    return problem


def test_the_flow_of_a_batch_leads_from_its_truth_to_the_next_frame(tosr):
    problem = quiet(tosr)
    windows = problem.draw(0)
    assert windows.degraded.shape == (2, 3, 4, 8, 8)
    assert windows.truth.shape == windows.truth_after.shape == (2, 3, 32, 32)
    warped = sample(windows.truth_after, pixel_grid(32, 32, windows.flow.device) + windows.flow)
    assert (warped - windows.truth).abs().mean() < 0.5 * (windows.truth_after - windows.truth).abs().mean()


def test_each_frame_of_a_pair_is_restored_from_its_own_window(tosr):
    problem = quiet(tosr)
    windows = problem.draw(1)
    problem.model.eval()  # so that batch normalisation does not tie the two together
    loss = problem.loss(windows, 1)
    first, second = (problem.model(windows.degraded[:, :, n : n + 3]) for n in range(2))
    expected = siamese_terms((first, second), (windows.truth, windows.truth_after), windows.flow, problem.distance)
    torch.testing.assert_close(torch.stack([problem.logged[f"siamese_{n}"] for n in range(1, 5)]), expected)
    torch.testing.assert_close(loss, expected.sum())
    without = quiet(tosr, ["siamese=[1.0, 0.5, 0.0, 0.0]"])
    without.model.eval()
    torch.testing.assert_close(without.loss(windows, 1), expected[0] + 0.5 * expected[1])


def test_the_loss_of_sosr_is_the_weighted_sum_of_its_three(sosr):
    problem = quiet(sosr)
    windows = problem.draw(0)
    assert windows.degraded.shape == (2, 3, 1, 8, 8)
    assert windows.truth_after is None
    loss, output = problem.loss(windows, 0), problem.model(windows.degraded)
    pixel = weighted_squared_error(output, windows.truth, motion_weights(windows.flow))
    told = problem.logged
    expected = 0.01 * pixel + problem.features(output, windows.truth) + 0.005 * told["adversarial"] + told["judge"]
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["loss=huber"], 'flow_weighted weights squared errors of single frames: set loss = "mse"'),
        (
            ["flow_weighted=false", "siamese=[1.0]"],
            r"siamese must have the weights of four terms, or none, got",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_named(settings, message, sosr):
    with pytest.raises(ValueError, match=message):
        read_recipe(sosr, settings)


def test_features_need_weights(sosr):
    with pytest.raises(RefilmError, match="give its weights as backbone, or set feature = 0"):
        create_problem(read_recipe(sosr, ["backbone="]))


def test_losses_of_super_resolution_are_refused_elsewhere(recipe):
    with pytest.raises(ValueError, match="siamese, flow_weighted, feature and adversarial are for super-resolution"):
        create_problem(read_recipe(recipe("vdn"), ["adversarial=1.0"]))
