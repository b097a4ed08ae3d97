import json

import pytest

pytest.importorskip("lightning")

from refilm.models import create_model
from refilm.training import export, read_recipe, train
from refilm.training.restoration import Restoration
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


def test_settings_of_another_task_are_named(recipe):
    with pytest.raises(ValueError, match="unknown key 'guide'"):
        read_recipe(recipe("vdn"), ["guide=1.0"])
    with pytest.raises(ValueError, match="no model is called 'vdn'; there are"):
        read_recipe(recipe("vdn"), ["model=vdn"])


def test_config_is_kept_with_the_checkpoint(recipe, tmp_path):
    train(recipe("off"), out=tmp_path / "run", device="cpu")
    assert json.loads((tmp_path / "run/config.json").read_text())["compression"] == ["h264 40", "hevc 37"]
