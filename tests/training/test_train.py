import csv
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from evaluation.clips import write_clip
from training.clock import Clock

pytest.importorskip("lightning")

from refilm.cli.main import run
from refilm.data import Motion
from refilm.errors import RefilmError
from refilm.models import MODELS, create_model
from refilm.training import export, read_recipe, train
from refilm.training.batches import Batches
from refilm.training.config import InterpolationConfig
from refilm.training.interpolation import Interpolation, classical_offsets, kinds_at
from refilm.training.problem import rate
from refilm.training.train import create_problem
from refilm.weights import SHIPPED as SHIPPED_WEIGHTS
from refilm.weights import load_weights

SHIPPED = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


def test_a_resumed_training_equals_an_undisturbed_one(recipe, tmp_path):
    whole = train(recipe, out=tmp_path / "whole", device="cpu")
    train(recipe, minutes=0, out=tmp_path / "parts", device="cpu")  # stops after its first step
    parts = train(recipe, out=tmp_path / "parts", device="cpu")
    one, two = (torch.load(path, weights_only=True) for path in (whole, parts))
    assert one["global_step"] == two["global_step"] == 4
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=0, atol=0)
    assert whole.stat().st_size < 16 * 2**20


def test_a_run_leaves_log_config_and_weights_that_load(recipe, tmp_path):
    checkpoint = train(recipe, out=tmp_path / "run", device="cpu", settings=["steps=2"])
    rows = list(csv.DictReader((tmp_path / "run/log/version_0/metrics.csv").open()))
    assert any(row["val_psnr"] for row in rows)
    assert json.loads((tmp_path / "run/config.json").read_text())["steps"] == 2
    path = export(checkpoint, tmp_path / "weights", note="a test")
    assert create_model("vi-ls3d-small", weights=path).config.ls3d_blocks == (6,)


def test_convolutions_serve_as_the_start_of_ls3d_blocks(recipe, tmp_path):
    short = ["steps=1", "val_every=1"]
    first = train(recipe, out=tmp_path / "conv", device="cpu", settings=["config.ls3d_blocks=[]", *short])
    weights = export(first, tmp_path)
    assert train(recipe, out=tmp_path / "ls3d", device="cpu", settings=[f"start={weights}", *short]).exists()


def test_a_training_starts_from_the_weights_that_ship(tmp_path):
    recipe = SHIPPED[0].parent / "vdn_ls3d_small.toml"
    name = MODELS["vdn-ls3d-small"].weights
    for given in ("default", name):
        assert read_recipe(recipe, [f"start={given}"]).start == str(SHIPPED_WEIGHTS / name)
    with pytest.raises(ValueError, match="no weights ship for dncnn-small to start from"):
        read_recipe(recipe.with_name("dncnn_small.toml"), ["start=default"])


def test_the_correction_of_a_flow_starts_level_with_it(recipe, tmp_path):
    flow = ["model=vi-ls3d-flow", "config={ channels = 8, blocks = 2 }", "margin=4", "steps=1", "val_every=1"]
    checkpoint = train(recipe, out=tmp_path / "flow", device="cpu", settings=flow)
    (row,) = [r for r in csv.DictReader((tmp_path / "flow/log/version_0/metrics.csv").open()) if r["loss"]]
    assert float(row["loss"]) == pytest.approx(float(row["loss_of_plain"]), rel=1e-4)
    assert export(checkpoint, tmp_path / "weights").name.startswith("vi-ls3d-flow-")
    with pytest.raises(ValueError, match="margin must lie within half of the crop, got 8 of 16"):
        read_recipe(recipe, ["margin=8"])


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("memc-net-small", "{ stem = 8, widths = [8], features = 8, context = 4, channels = 8, blocks = 1 }"),
        ("dain-small", "{ stem = 8, widths = [8], depth_widths = [8], context = 4, channels = 8, blocks = 1 }"),
    ],
)
def test_networks_on_projected_flow_train_and_their_weights_load(name, config, recipe, tmp_path):
    settings = [f"model={name}", f"config={config}", "crop=32", "margin=4", "steps=2"]
    checkpoint = train(recipe, out=tmp_path / "run", device="cpu", settings=settings)
    rows = [r for r in csv.DictReader((tmp_path / "run/log/version_0/metrics.csv").open()) if r["loss"]]
    assert all(0 < float(row["loss"]) < 1 for row in rows)
    path = export(checkpoint, tmp_path / "weights")
    assert create_model(name, weights=path).config.widths == (8,)


def test_every_loss_can_be_added(recipe, tmp_path):
    settings = ["structure=0.1", "adversarial=0.01", "crop=32", "steps=2"]
    train(recipe, out=tmp_path / "run", device="cpu", settings=settings)
    (row,) = [r for r in csv.DictReader((tmp_path / "run/log/version_0/metrics.csv").open()) if r["loss"]]
    assert all(float(row[name]) != 0 for name in ("adversarial", "judges"))


def test_two_processes_train_as_one_with_both_batches(recipe, tmp_path):
    """Each draws a batch of its own; the gradients' mean is that of both; and one checkpoint comes out."""
    command = [sys.executable, "-m", "refilm.training", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu"]
    settings = ["--set", "steps=1", "--set", "val_every=1", "--set", "clip_norm=1e9"]
    result = subprocess.run([*command, *settings, "--devices", "2"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    config = read_recipe(recipe, ["steps=1", "val_every=1"])
    problem = create_problem(config)
    problem.log_dict = lambda *_, **__: None
    ((problem.loss_of(0) + problem.loss_of(1)) / 2).backward()
    optimizer = problem.configure_optimizers()["optimizer"]  # the warm-up's first rate is set by now
    optimizer.step()
    state = torch.load(tmp_path / "run/last.ckpt", weights_only=True)["state_dict"]
    for name, value in problem.state_dict().items():
        if name.startswith("model."):
            torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-6)


def test_a_validation_leaves_a_picture_and_a_log_for_tensorboard(recipe, tmp_path):
    train(recipe, out=tmp_path / "run", device="cpu", settings=["steps=2"])
    picture = cv2.imread(str(tmp_path / "run/pictures/000002.png"))
    assert picture.shape == (32, 3 * 48, 3)
    assert list((tmp_path / "run/tensorboard").rglob("events.*"))


def test_the_command_trains_and_exports(recipe, tmp_path, capsys):
    folders = ["--out", str(tmp_path / "run"), "--export", str(tmp_path / "weights")]
    assert run(["train", str(recipe), "--set", "steps=1", "--set", "val_every=1", "--device", "cpu", *folders]) == 0
    path = capsys.readouterr().out.split("weights: ")[1].strip()
    assert create_model("vi-ls3d-small", weights=path).config.channels == 8


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "stps=1"], 2, "unknown key 'stps'; did you mean 'steps'?"),
        (["--set", "steps"], 2, "a setting must be key=value, got 'steps'"),
        (["--set", 'val="nowhere"'], 1, "nowhere is neither in"),
    ],
)
def test_the_command_says_what_is_wrong_with_a_recipe(recipe, capsys, arguments, code, message):
    assert run(["train", str(recipe), *arguments]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("exports", "steps"), [(False, 36), (True, 20)])
def test_minutes_hold_all_validations_and_the_export(recipe, tmp_path, monkeypatch, exports, steps):
    """Steps of 10 s, validations of 60 s every 20 steps and at the end, of 90 s for a weight file."""
    clock = Clock()
    monkeypatch.setattr("refilm.training.deadline.monotonic", clock)
    loss, validate = Interpolation.loss, Interpolation.validate

    def slow_loss(problem, batch, step):
        clock.now += 10
        return loss(problem, batch, step)

    def slow_validate(problem, model, val, frames_a_clip):
        clock.now += 60 if frames_a_clip == 1 else 90
        return validate(problem, model, val, frames_a_clip)

    monkeypatch.setattr(Interpolation, "loss", slow_loss)
    monkeypatch.setattr(Interpolation, "validate", slow_validate)
    settings = ["val_every=20", "steps=100"]
    checkpoint = train(recipe, 9, settings, tmp_path / "run", "cpu", exports=exports)
    if exports:
        export(checkpoint, tmp_path / "weights")
    rows = list(csv.DictReader((tmp_path / "run/log/version_0/metrics.csv").open()))
    assert [int(row["step"]) for row in rows if row["val_psnr"]][-1] == steps - 1
    assert torch.load(checkpoint, weights_only=True)["global_step"] == steps
    assert 9 * 60 - 60 - 10 <= clock.now <= 9 * 60


def test_processes_that_draw_ahead_draw_the_same_batches(recipe):
    problem = create_problem(read_recipe(recipe))
    problem.trainer = SimpleNamespace(global_step=3, world_size=2, global_rank=1)
    for (alone, number), (ahead, same) in zip(islice(Batches(problem, 0), 3), Batches(problem, 2), strict=False):
        assert number == same
        assert torch.equal(alone[0].inputs, ahead[0].inputs)
        assert torch.equal(alone[0].inputs, problem.draw(number)[0].inputs)
    assert number == 2 * (3 + 2) + 1


def test_two_equal_trainings_give_the_same_file(recipe, tmp_path):
    files = [
        export(train(recipe, out=tmp_path / name, device="cpu", settings=["steps=2"]), tmp_path / name / "weights")
        for name in ("one", "two")
    ]
    assert files[0].name == files[1].name
    assert files[0].read_bytes() == files[1].read_bytes()
    other = train(recipe, out=tmp_path / "three", device="cpu", settings=["steps=2", "seed=1"])
    assert export(other, tmp_path / "weights").name != files[0].name


def test_a_folder_of_clips_takes_the_place_of_the_recipes_own(recipe, tmp_path, monkeypatch, capsys):
    for name in ("morning", "noon", "night"):
        write_clip(tmp_path / "mine" / f"{name}.mkv", count=5, height=32, width=48)
    monkeypatch.chdir(tmp_path)
    short = ["--set", "steps=1", "--set", "val_every=1", "--device", "cpu", "--out", "run", "--export", "weights"]
    assert run(["train", "tiny.toml", "--data", "mine", *short]) == 0
    weights = load_weights(capsys.readouterr().out.split("weights: ")[1].strip())
    assert len(weights.metrics["psnr"]) == 1  # one of the three films was set aside
    plain = json.loads((tmp_path / "run/config.json").read_text())
    assert (plain["train"], plain["val"], plain["data"]) == ([], "", str(tmp_path / "mine"))
    assert run(["train", "tiny.toml", "--data", "elsewhere", *short]) == 1
    assert "elsewhere: no such file or folder" in capsys.readouterr().err


# those of geodesics make their own material
ASKING = [path for path in SHIPPED if not path.stem.startswith("geodesic_")]


@pytest.mark.parametrize("path", ASKING, ids=lambda path: path.stem)
def test_shipped_recipes_ask_for_a_folder(path, tmp_path, capsys):
    assert run(["train", str(path), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 1
    assert "nothing to train on: give a folder" in capsys.readouterr().err
    assert read_recipe(path, data=tmp_path).data == str(tmp_path)


def test_other_settings_do_not_resume(recipe, tmp_path):
    train(recipe, out=tmp_path / "run", device="cpu", settings=["steps=1", "val_every=1"])
    with pytest.raises(ValueError, match=r"batch = 2, not 3; give another folder"):
        train(recipe, out=tmp_path / "run", device="cpu", settings=["steps=1", "batch=3"])


def test_recipes_name_the_nearest_key(recipe):
    with pytest.raises(ValueError, match="unknown key 'learning_rat'; did you mean 'learning_rate'"):
        read_recipe(recipe, ["learning_rat=1"])
    with pytest.raises(ValueError, match="key=value"):
        read_recipe(recipe, ["steps"])
    with pytest.raises(ValueError, match="crop must be a multiple of 4"):
        read_recipe(recipe, ["crop=17"])
    with pytest.raises(RefilmError, match="elsewhere is neither in"):
        read_recipe(recipe, ['train=["elsewhere"]'])
    assert read_recipe(recipe, ["config.skip=blend"]).config["skip"] == "blend"


def test_schedule_warms_up_and_falls_to_its_floor():
    config = InterpolationConfig(train=("x",), steps=100, warmup=10, floor=0.1)
    assert rate(config, 0) == pytest.approx(0.1)
    assert rate(config, 10) > 0.9
    assert rate(config, 100) == rate(config, 500) == pytest.approx(0.1)


def test_motion_widens():
    config = InterpolationConfig(train=("x",), motion=(Motion(2, 2, 1.0), Motion(4, 1, 2.0)), widen_until=10)
    assert [kind.weight for kind in kinds_at(config, 5)] == [1.0, 1.0]


def test_classical_offsets_point_into_each_input():
    noise = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(noise, scale_factor=8, mode="bicubic").clamp(0, 1)
    before, middle, after = (wide[:, :, :, 20 + 2 * i : 116 + 2 * i].unsqueeze(2) for i in range(3))
    offsets = classical_offsets(torch.cat([before, after], dim=2), middle)
    # (dy, dx): the scene moves left by 2, so the first input has it 2 pixels to the right
    assert offsets.median(dim=4).values.median(dim=3).values.flatten().tolist() == pytest.approx([0, 2, 0, -2], abs=0.4)
