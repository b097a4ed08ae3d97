"""Training of recognition, with a toy that learns to tell brighter from darker."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("lightning")

from safetensors.torch import save_file
from toys.films import ramps, write_labelled, write_levels
from toys.recogniser import Glance, GlanceConfig

from refilm.data.camera_motion import LABELS
from refilm.errors import RefilmError
from refilm.models import MODELS, Model, create_model
from refilm.training import export, read_recipe, train
from refilm.training.losses import charbonnier
from refilm.training.train import create_problem
from refilm.weights import load_weights

RECIPE = """
model = "glance"
config = { segments = 3 }
batch = 4
steps = 30
val_every = 30
warmup = 0
learning_rate = 0.05
ema_decay = 0.0
"""


@pytest.fixture(autouse=True)
def glance(monkeypatch):
    monkeypatch.setitem(MODELS, "glance", Model("recognition", lambda: (Glance, GlanceConfig())))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Clips that get brighter or darker, five of each, with a serial number each."""
    rows = [
        (f"{label}{serial}.mkv", label, serial, ramps(100 + 10 * serial, [(8, step)]))
        for serial in range(5)
        for label, step in (("brighter", 6), ("darker", -6))
    ]
    return write_labelled(tmp_path_factory.mktemp("films") / "ramps", rows)


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "glance.toml").write_text(RECIPE)
    return tmp_path / "glance.toml"


def quiet(config):
    problem = create_problem(config)
    problem.log_dict = problem.log = lambda *_, **__: None
    return problem


def test_learns_a_fold_and_exports_what_it_was_not_shown(films, recipe, tmp_path, capsys):
    checkpoint = train(recipe, out=tmp_path / "run", device="cpu", data=films, settings=["fold=3"])
    printed = capsys.readouterr().out
    assert "step 30: val 100.000 %, over the commonest class +50.000 on the mean, balanced 100.0 %" in printed
    weights = load_weights(export(checkpoint, tmp_path / "weights"))
    assert weights.metrics["top1"] == [100.0, 100.0]
    assert weights.metrics["protocol"] == "whole frames, the middles of the segments, top-1 in %, a value a clip"
    assert weights.recipe["sets"] == {"ramps": "3"}
    model = create_model("glance", weights=next((tmp_path / "weights").iterdir()))
    assert (model.labels, model.window) == (("brighter", "darker"), 3)


def test_the_same_step_draws_the_same_batch(films, recipe):
    problem, again = (quiet(read_recipe(recipe, data=films)) for _ in range(2))
    clips, targets, *_ = problem.draw(7)
    assert clips.shape == (4, 3, 3, 16, 24)
    assert all(torch.equal(a, b) for a, b in zip(again.draw(7)[:2], (clips, targets), strict=True))
    assert not torch.equal(problem.draw(8)[0], clips)
    for clip, target in zip(clips, targets, strict=True):
        rises = clip[:, -1].mean() > clip[:, 0].mean()
        assert problem.model.labels[target] == ("brighter" if rises else "darker")


def test_a_share_of_the_views_looks_as_if_their_films_were_small(films, recipe):
    texture = torch.randint(0, 256, (9, 3, 19, 29), dtype=torch.uint8)

    def views(*settings):
        problem = quiet(read_recipe(recipe, list(settings), data=films))
        assert {clip.film for clip in problem.train_clips.clips} == {(32, 48)}
        clips = [replace(clip, frames_u8=texture) for clip in problem.train_clips.clips]
        problem.train_clips = replace(problem.train_clips, clips=clips)
        return torch.cat([problem.draw(step).clips for step in range(10)])

    detail = views().diff(dim=4).abs().mean(dim=(1, 2, 3, 4))
    small = views("shrunk=1").diff(dim=4).abs().mean(dim=(1, 2, 3, 4))
    half = views("shrunk=0.5").diff(dim=4).abs().mean(dim=(1, 2, 3, 4))
    assert small.max() < 0.7 * detail.min()
    assert 0.2 < (half < 0.7 * detail.min()).float().mean() < 0.8


def test_what_is_held_out_is_not_learned_from(films, recipe):
    problem = create_problem(read_recipe(recipe, ["fold=2"], films))
    levels = {int(clip.frames_u8[0, 0, 0, 0]) for clip in problem.train_clips.clips}
    held_out = {int(clip.frames_u8[0, 0, 0, 0]) for clip in problem.val.clips}
    assert (len(levels), len(held_out)) == (4, 1)
    assert not levels & held_out
    assert create_problem(read_recipe(recipe, ["fold=all"], films)).val is None


def test_the_loss_is_the_sum_over_the_classifiers(films, recipe):
    problem = quiet(read_recipe(recipe, data=films))
    with torch.no_grad():
        for name in ("level", "change"):
            layer = getattr(problem.model, name)
            layer.weight.zero_()
            layer.bias.zero_()
    torch.testing.assert_close(problem.loss_of(0), torch.tensor(2 * 2.0).log())


def test_classes_are_those_of_the_recipe_in_its_order(films, recipe):
    problem = create_problem(read_recipe(recipe, ['classes=["darker", "brighter"]'], films))
    assert problem.model.labels == ("darker", "brighter")
    with pytest.raises(RefilmError, match="no clip has the label 'dimmer'; there are: brighter, darker"):
        create_problem(read_recipe(recipe, ['classes=["dimmer"]'], films))


def test_sets_are_mixed_by_their_labels(films, recipe):
    config = read_recipe(recipe, [f'train=["{films}"]'], films)
    config = type(config)(**{**config.plain(), "train": (str(films),), "data": str(films)})
    problem = create_problem(config)
    assert len(problem.train_clips) == 8 + 10
    assert problem.model.labels == ("brighter", "darker")


def test_of_a_set_that_is_too_large_evenly_spread_clips_are_read(films, recipe, capsys):
    problem = create_problem(read_recipe(recipe, ["max_gb=0.000014"], films))
    assert len(problem.train_clips) == 4  # of two frames of 19x29 pixels each
    assert len(problem.val) == 2
    assert "of 8 clips to learn from, 4 are read, which fit into max_gb = 1.4e-05" in capsys.readouterr().out


def test_starts_from_what_fits_of_other_weights(films, recipe, tmp_path, capsys):
    first = train(recipe, out=tmp_path / "run", device="cpu", data=films, settings=["steps=2", "val_every=2"])
    weights = export(first, tmp_path)
    state = load_weights(weights).state
    problem = create_problem(read_recipe(recipe, [f'start="{weights}"', "config.segments=4"], films))
    assert torch.equal(problem.model.backbone[0].weight, state["backbone.0.weight"])
    assert f"2 of 11 tensors are not in {weights}, such as level.weight" in capsys.readouterr().out
    assert problem.model.level.weight.shape == (2, 48)


def test_a_backbone_starts_from_a_file_of_its_own_and_learns_at_its_own_rate(films, recipe, tmp_path):
    backbone = Glance().backbone.state_dict()
    save_file({name: value.contiguous() for name, value in backbone.items()}, tmp_path / "backbone.safetensors")
    settings = [f'backbone="{tmp_path / "backbone.safetensors"}"', "backbone_rate=0.1", 'optimizer="sgd"']
    problem = create_problem(read_recipe(recipe, settings, films))
    assert torch.equal(problem.model.backbone[0].weight, backbone["0.weight"])
    optimizer = problem.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.SGD)
    rates = sorted(group["initial_lr"] for group in optimizer.param_groups)
    assert rates == pytest.approx([0.005, 0.05])
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, 4]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("span=[0.9, 0.5]", "span must be the least and the largest share"),
        ('flips=["sideways"]', "no flip is called 'sideways'"),
        ("smoothing=1.0", "smoothing must lie in"),
        ("aspect=0.5", "aspect must be at least 1"),
        ("shrunk=1.5", "shrunk must lie in"),
        ('optimizer="adam"', 'optimizer must be "adamw" or "sgd"'),
    ],
)
def test_settings_out_of_range_are_refused(recipe, films, setting, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(recipe, [setting], films)


def test_nothing_to_train_on_is_told(recipe):
    with pytest.raises(RefilmError, match="give a folder of labelled clips by --data FOLDER"):
        create_problem(read_recipe(recipe))


CAMERA = """
model = "glance"
synthetic = 1.0
made_val = 8
batch = 3
steps = 2
val_every = 2
"""


@pytest.fixture
def camera(tmp_path):
    """A recipe that learns from clips made from eight stills, four photographs and four films."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "films").mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), cv2.resize(noise, (96, 64)))
        write_levels(tmp_path / "films" / f"{number}.mkv", [60 + 40 * number] * 3)
    text = CAMERA + 'photographs = ["photos"]\nfilms = ["films"]\n'
    (tmp_path / "camera.toml").write_text(text)
    return tmp_path / "camera.toml"


def test_learns_what_the_camera_does_from_stills_and_validates_on_others(camera, tmp_path):
    weights = load_weights(export(train(camera, out=tmp_path / "run", device="cpu"), tmp_path))
    assert weights.config["labels"] == list(LABELS)
    assert len(weights.metrics["top1"]) == 8
    problem, again = (quiet(read_recipe(camera)) for _ in range(2))
    assert len(problem._made.stills) == 7
    for part, other in zip(problem.draw(3)[:2], again.draw(3)[:2], strict=True):
        assert torch.equal(part, other)
    moving = made_by(problem)
    clips, targets, *_ = problem.draw(3)
    assert clips.shape == (3, 3, 4, 16, 24)
    assert [problem.model.labels[target] for target in targets] == [clip.label for clip in moving]
    val = problem.val.clips[0]
    assert val.frames_u8.shape == (10, 3, 16, 24)  # two seconds at the model's five frames a second
    assert torch.equal(val.frames_u8, again.val.clips[0].frames_u8)


def made_by(problem):
    """A list to which the clips are added that the problem makes from now on."""
    made, make = [], problem._moving
    problem._moving = lambda random: made.append(make(random)) or made[-1]
    return made


@dataclass(frozen=True)
class ForetellingConfig(GlanceConfig):
    flow_grid: int = 3


class Foretelling(Glance):
    """Also predicts the flow, as what it is given."""

    flow = torch.zeros(2)

    def lesson(self, clip):
        shape = len(clip), clip.shape[2] - 1, 2, 3, 3
        return self.heads(clip), self.flow.view(1, 1, 2, 1, 1).expand(shape)

    def flow_pairs(self):
        return [0, 1, 2], [1, 2, 3]

    def flow_target(self, clip):
        return torch.full((len(clip), clip.shape[2] - 1, 2, 3, 3), 4.0)


def test_predicted_flow_is_compared_with_the_exact_one(camera, films, monkeypatch):
    monkeypatch.setitem(MODELS, "glance", Model("recognition", lambda: (Foretelling, ForetellingConfig())))
    problem = quiet(read_recipe(camera, ["flow_weight=1.0"]))
    moving = made_by(problem)
    clips, _, target, _ = problem.draw(5)
    for number, clip in enumerate(moving):
        torch.testing.assert_close(target[number], clip.flow([0, 1, 2], [1, 2, 3], 3))
    plain = quiet(read_recipe(camera))
    plain.model.load_state_dict(problem.model.state_dict())
    expected = charbonnier(torch.zeros_like(target) / 4, target / 4, 0.1)
    torch.testing.assert_close(problem.loss_of(5) - plain.loss_of(5), expected, atol=1e-4, rtol=1e-4)
    real = quiet(read_recipe(camera, ["flow_weight=1.0", "synthetic=0.001"], films))
    assert (real._flow(clips, [None] * 3) == 4).all()


def test_stills_are_asked_for(camera):
    with pytest.raises(RefilmError, match="give a folder of pictures as photographs, or of films as films"):
        create_problem(read_recipe(camera, ["photographs=[]", "films=[]"]))
    with pytest.raises(RefilmError, match="4 stills are too few to set some aside"):
        create_problem(read_recipe(camera, ["photographs=[]"]))
