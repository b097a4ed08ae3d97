import json

import av
import numpy as np
import pytest
import torch

pytest.importorskip("lightning")

from refilm.models import create_model
from refilm.training import export, read_recipe, train
from refilm.training.train import create_problem
from refilm.video.key_pictures import crf_for
from refilm.weights import load_weights

HEAD = """
train = ["moving"]
val = "moving"
crop = 64
batch = 3
steps = 3
val_every = 3
val_frames = 2
"""
SMALL = "channels = 8, latents = 8, lambdas = [256.0, 1024.0, 1500.0, 2048.0]"
MOTION = "motion_channels = 8, motion_latents = 8, compensation = 8"
RECIPES = {
    "picture": f'model = "hyperprior-small"\nconfig = {{ {SMALL} }}\n',
    "dvc": f'model = "dvc-small"\nconfig = {{ {SMALL}, {MOTION} }}\nmotion_until = 1\ncompensation_until = 2\n',
    "epa": f'model = "dvc-epa-small"\nconfig = {{ {SMALL}, {MOTION} }}\nruns = [1, 2]\nlonger_from = [2]\n',
    "spynet": f'model = "dvc"\nconfig = {{ {SMALL}, {MOTION}, levels = 2 }}\n',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a pack of one clip of five frames of 96x80 in it, noise on a coarse grid that moves."""
    folder = tmp_path_factory.mktemp("compression")
    (folder / "moving").mkdir()
    grid = np.random.default_rng(0).integers(0, 255, (10, 16, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    with av.open(str(folder / "moving" / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
        for i in range(5):
            picture = np.ascontiguousarray(grid[:80, 3 * i : 3 * i + 96])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    entry = {"file": "a.mkv", "source": "s", "frames": 5, "width": 96, "height": 80, "motion": 3.0, "bytes": 1}
    (folder / "moving" / "index.json").write_text(json.dumps([entry]))
    for name, text in RECIPES.items():
        (folder / f"{name}.toml").write_text(text + HEAD)
    return folder


def problem_of(folder, name, *settings):
    problem = create_problem(read_recipe(folder / f"{name}.toml", settings))
    problem.log_dict = lambda *_, **__: None
    return problem


@pytest.mark.parametrize("name", RECIPES)
def test_trains_and_exports_weights_whose_tables_are_those_of_the_trained_model(name, folder, tmp_path):
    path = export(train(folder / f"{name}.toml", out=tmp_path / "run", device="cpu"), tmp_path / "weights")
    model = create_model(read_recipe(folder / f"{name}.toml").model, weights=path)
    tables = {key: value.clone() for key, value in model.named_buffers() if key.endswith("counts")}
    problem_of(folder, name).finish(model)
    assert len(tables) >= 2
    for key, value in tables.items():
        assert torch.equal(model.get_buffer(key), value), key
    figures = load_weights(path).metrics
    assert set(figures) == {"protocol", "rd", "rd_plain", "psnr", "bpp"}


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_step_draws_the_same_batch_and_another_one_another(name, folder):
    one, other = (problem_of(folder, name) for _ in range(2))
    for a, b in zip(one.draw(5), other.draw(5), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.draw(5).frames_u8, one.draw(6).frames_u8)


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_step_has_the_same_loss_whatever_came_before(name, folder):
    problem = problem_of(folder, name)
    torch.rand(3)
    first = problem.loss_of(2)
    problem.loss_of(1)
    assert torch.equal(problem.loss_of(2), first)


def test_a_batch_says_where_each_frame_moves_from(folder):
    """The clip moves to the left by three pixels a frame: what is here was three pixels further right before."""
    problem = problem_of(folder, "epa", "intra=0.0", "batch=12")
    batch = problem.draw(2)
    assert batch.frames_u8.shape == (12, 2, 3, 64, 64)
    assert batch.flows.shape == (12, 2, 2, 32, 32)
    sizes = batch.flows[..., 8:-8, 8:-8].float().norm(dim=2).median()
    assert float(sizes) == pytest.approx(3.0, abs=0.2)


def test_a_share_of_runs_begins_with_a_frame_that_was_coded(folder):
    none, all_of_them = (problem_of(folder, "dvc", f"intra={share}").draw(4) for share in (0.0, 1.0))
    assert torch.equal(none.frames_u8, all_of_them.frames_u8)
    assert not torch.equal(none.first_u8, all_of_them.first_u8)
    assert (none.first_u8.float() - all_of_them.first_u8.float()).abs().mean() < 20


def moved(problem, step):
    """The parts of the model that a step's loss depends on."""
    problem.model.zero_grad()
    problem.loss_of(step).backward()
    return {name.split(".")[0] for name, p in problem.model.named_parameters() if p.grad is not None and p.grad.any()}


def test_motion_is_learned_first_then_compensation_then_all(folder):
    problem = problem_of(folder, "dvc")
    motion = {"motion_encoder", "motion_decoder", "motion_gains", "of_motion"}
    assert moved(problem, 0) == motion
    # compensation begins as the identity, and its last layer alone has a gradient
    assert moved(problem, 1) == motion | {"compensate"}
    assert moved(problem, 2) >= motion | {"compensate", "residual_encoder", "residual_decoder", "hyperprior"}


def test_errors_of_a_run_lead_back_to_its_first_frame(folder):
    """EPA: the loss of the second frame has gradients in how the first was coded."""
    problem = problem_of(folder, "epa")
    batch = problem.draw(2)
    assert len(batch.frames_u8[0]) == 2
    frames = []
    whole = problem.model.coded
    problem.model.coded = lambda *arguments: frames.append(whole(*arguments)) or frames[-1]
    problem.loss(batch, 2)
    (gradient,) = torch.autograd.grad(frames[1].frame.sum(), frames[0].frame)
    assert gradient.any()


def test_a_learned_motion_learns(folder):
    assert "spynet" in moved(problem_of(folder, "spynet"), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["crop=100"], "multiple of 64"),
        (["runs=[1, 3]"], "longer_from must have a step for each of runs but the first"),
        (["gaps=[0]"], "at least 1 frame"),
        (["intra=2.0"], "intra must lie in"),
    ],
)
def test_settings_that_make_no_sense_are_refused(folder, settings, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(folder / "dvc.toml", settings)


def test_x264_gets_the_quantiser_that_makes_the_same_trade_off():
    """Of H.264's reference encoder: lambda = 0.85 * 2^((QP - 12) / 3), in squared 8-bit levels for a bit."""
    for qp in (22.0, 37.0):
        assert crf_for(255**2 / (0.85 * 2 ** ((qp - 12) / 3))) == pytest.approx(qp)
