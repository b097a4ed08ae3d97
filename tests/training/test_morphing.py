import json

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("lightning")

from refilm.errors import RefilmError
from refilm.models import create_model
from refilm.training import export, measure, read_recipe, train
from refilm.training.config import MorphingConfig
from refilm.training.morphing import Critic, Morphing, learn_space
from refilm.training.train import create_problem
from refilm.weights import load_weights

RECIPE = """
model = "geodesic-s-curve"
config = { width = 8, bend = 8 }
samples = "s-curve"
batch = 16
pairs = 4
moments = 3
steps = 3
curves_from = 1
val_every = 3
val_frames = 1
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "geodesic.toml").write_text(RECIPE)
    return tmp_path / "geodesic.toml"


def problem_of(recipe, *settings):
    problem = create_problem(read_recipe(recipe, settings))
    assert isinstance(problem, Morphing)
    problem.log_dict = lambda *_, **__: None
    return problem


def test_trains_measures_and_exports_a_space_that_loads(recipe, tmp_path):
    checkpoint = train(recipe, out=tmp_path / "run", device="cpu")
    figures = measure(checkpoint)
    assert {"evenness", "evenness_plain", "length_ratio", "off", "rmse"} <= set(figures)
    assert figures["figure"] == "evenness"
    path = export(checkpoint, tmp_path / "weights")
    assert path.name.startswith("geodesic-s-curve-")
    space = create_model("geodesic-s-curve", weights=path)
    assert space.config.width == 8
    assert len(load_weights(path).metrics["rmse"]) == 1000


def test_the_same_step_draws_the_same_batch(recipe):
    losses = [problem_of(recipe).loss_of(step).item() for step in (2, 2, 3)]
    assert losses[0] == losses[1] != losses[2]


def test_every_part_learns_by_its_own_losses(recipe):
    problem = problem_of(recipe)
    problem.loss_of(0).backward()
    assert all(parameter.grad is None for parameter in problem.model.bend.parameters()), "curves learn later"
    problem.loss_of(1).backward()
    for name, parameter in problem.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name


@pytest.mark.parametrize("off", ["critic=0.0", "prior=0.0", "speed=0.0", "length=0.0"])
def test_each_loss_can_be_switched_off(recipe, off):
    whole, without = problem_of(recipe), problem_of(recipe, off)
    without.load_state_dict(whole.state_dict())
    assert whole.loss_of(2).item() != without.loss_of(2).item()


def test_a_set_that_there_is_not_is_named_with_those_that_there_are(recipe):
    with pytest.raises(RefilmError, match="'rolls'; there are: swiss-roll, s-curve"):
        problem_of(recipe, "samples=rolls")
    with pytest.raises(RefilmError, match="nothing to train on"):
        problem_of(recipe, 'samples=""')
    with pytest.raises(ValueError, match="moments must be at least 2"):
        MorphingConfig(moments=1)


@pytest.mark.parametrize("shape", [(3,), (1, 8, 8), (3, 32, 40)])
def test_the_critic_judges_samples_of_any_shape_and_is_at_rest_for_who_is_judged(shape):
    critic = Critic(shape)
    decoded = torch.rand(4, *shape, requires_grad=True)
    critic.displeasure(decoded).backward()
    assert decoded.grad is not None
    assert all(parameter.grad is None for parameter in critic.parameters())
    decoded.grad = None
    critic.loss(torch.rand(4, *shape), decoded).backward()
    assert decoded.grad is None
    assert all(parameter.grad is not None for parameter in critic.parameters())


def test_a_space_is_learned_from_a_folder_of_pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    for number in range(32):
        picture = np.full((40, 64, 3), 200, np.uint8)
        cv2.circle(picture, (16 + number, 20), 8, (40, 60, 160), -1)
        cv2.imwrite(str(tmp_path / "pictures" / f"{number:02d}.png"), picture)
    path = learn_space(tmp_path / "pictures", 0.02, 24, tmp_path)
    weights = load_weights(path)
    assert weights.model == "geodesic"
    assert weights.config["shape"] == [3, 16, 24]
    assert weights.recipe["note"] == "learned from pictures"
    assert len(weights.metrics["rmse"]) == 4
    assert json.dumps(weights.metrics)
    with pytest.raises(ValueError, match="minutes must be above 0"):
        learn_space(tmp_path / "pictures", 0, 24, tmp_path)
