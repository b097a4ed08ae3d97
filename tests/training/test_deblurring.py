import json

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("lightning")

from refilm.errors import RefilmError
from refilm.models import create_model
from refilm.models.flow_blend import FlowBlend
from refilm.training import export, read_recipe, train
from refilm.training.config import DeblurringConfig
from refilm.training.deblurring import Deblurring, plainly, slowed
from refilm.training.train import create_problem

TINY = """
model = "bin-small"
config = { scales = 2, features = 4, blocks = 1, convolutions = 1, growth = 2, decoder = 2, shuffle = 2 }
train = ["films"]
val = "films"
photographs = ["photographs"]
crop = 16
batch = 2
steps = 2
val_every = 1
val_frames = 1
windows = 1
shrink = 1
gaps = [2]
speed = 6.0
"""


@pytest.fixture
def recipe(tmp_path):
    """Clips of eleven frames of moving noise as pictures, a photograph, and the recipe."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 70, 3), np.uint8)
    noise = cv2.GaussianBlur(noise, (0, 0), 1.5)
    for name in ("a", "b"):
        (tmp_path / "films" / name).mkdir(parents=True)
        for i in range(11):
            cv2.imwrite(str(tmp_path / "films" / name / f"{i:02d}.png"), noise[:, i : i + 48])
    (tmp_path / "photographs").mkdir()
    cv2.imwrite(str(tmp_path / "photographs" / "p.png"), noise)
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path / "tiny.toml"


def quiet(problem):
    problem.log_dict = lambda *_, **__: None
    problem.log = lambda *_, **__: None
    return problem


def test_trains_and_exports_weights_that_load(recipe, tmp_path):
    checkpoint = train(recipe, out=tmp_path / "run", device="cpu")
    path = export(checkpoint, tmp_path / "weights")
    model = create_model("bin-small", weights=path)
    assert model.config.features == 4
    kept = json.loads((tmp_path / "run/config.json").read_text())
    assert kept["shutter"] == [0.5, 1.0]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_as_many_clips_as_wanted_are_not_blurred(share, recipe):
    problem = create_problem(read_recipe(recipe, [f"unblurred={share}", "batch=6"]))
    pairs = [pair for step in range(6) for pair in zip(*problem.draw(step), strict=True)]
    unblurred = [bool((blurry - sharp[:, ::2]).abs().max() < 1e-3) for blurry, sharp in pairs]
    assert sum(unblurred) / len(pairs) == pytest.approx(share, abs=0.15)  # a few do not move


def test_batches_depend_on_the_step_alone_and_the_loss_starts_at_the_plain_alternatives(recipe):
    problem = quiet(create_problem(read_recipe(recipe)))
    assert isinstance(problem, Deblurring)
    blurry, sharp = problem.draw(3)
    assert blurry.shape == (2, 3, problem.frames, 16, 16)
    assert sharp.shape == (2, 3, 2 * problem.frames - 1, 16, 16)
    assert all(torch.equal(*pair) for pair in zip((blurry, sharp), problem.draw(3), strict=True))
    assert not torch.equal(blurry, problem.draw(4)[0])
    # untrained, each estimate is the blurry frame or the mean of two
    logged = {}
    problem.log_dict = lambda values, **_: logged.update(values)
    problem.loss_of(3)
    estimates = list(problem.model.estimates(blurry))
    plain = plainly(blurry)
    for estimate in estimates:
        torch.testing.assert_close(estimate.frame, plain[:, :, int(2 * estimate.time)])
    assert logged["loss"] > 0


@pytest.mark.parametrize("synthetic", [0, 1])
def test_a_blurry_frame_shows_what_its_truth_shows(recipe, synthetic):
    """It is nearer to the truth at its own time than to those before and after it."""
    settings = [f"synthetic={synthetic}", "batch=4", "shutter=[0.5, 0.8]"]
    blurry, sharp = create_problem(read_recipe(recipe, settings)).draw(0)
    inner = slice(1, blurry.shape[2] - 1)
    own, before, after = (sharp[:, :, 2 + shift : sharp.shape[2] - 2 + shift : 2] for shift in (0, -1, 1))
    error = [float((blurry[:, :, inner] - truth).square().mean()) for truth in (own, before, after)]
    assert 0 < error[0] < min(error[1:])


def test_slowed_clips_keep_their_real_frames():
    frames = torch.rand(3, 3, 40, 44)
    slow = slowed(FlowBlend(), frames, margin=4)
    assert slow.shape == (3, 9, 32, 36)
    assert torch.equal(slow[:, ::4], frames.transpose(0, 1)[..., 4:-4, 4:-4])


def test_photographs_are_asked_for_where_they_are_wanted(recipe):
    with pytest.raises(RefilmError, match="asks for photographs; give folders of them as photographs, or set"):
        create_problem(read_recipe(recipe, ["photographs=[]"]))
    create_problem(read_recipe(recipe, ["photographs=[]", "synthetic=0.0"]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gaps": (3,)}, "gaps must be even numbers, so that the truth between is a real frame, got 3"),
        ({"gaps": ()}, "gaps list one"),
        ({"shutter": (0.9, 1.0)}, "at least 0.25 apart and at most 1.125, .* got 0.9 and 1"),
        ({"synthetic": 2.0}, r"synthetic must lie in \[0, 1\], got 2"),
    ],
)
def test_values_that_cannot_be_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        DeblurringConfig(model="bin-small", **fields)
