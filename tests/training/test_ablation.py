import json

import pytest

pytest.importorskip("lightning")

import re
from pathlib import Path
from types import SimpleNamespace

from evaluation.clips import write_clip
from training.clock import Clock

from refilm.errors import RefilmError
from refilm.training import ablate, read_recipe, train
from refilm.training.ablation import read_ablation
from refilm.training.forecast import seconds_of_training
from refilm.training.interpolation import Interpolation

SHIPPED = sorted((Path(__file__).parents[2] / "recipes" / "ablations").glob("*.toml"))
TINY = """
claim = "more is more"
recipe = "tiny.toml"
settings = ["steps=1", "val_every=1"]
[[arm]]
name = "without"
settings = ["config.ls3d_blocks=[]"]
[[arm]]
name = "with"
"""


def test_arms_become_rows_and_a_second_call_trains_nothing(recipe, tmp_path):
    (tmp_path / "more.toml").write_text(TINY)
    folders = {"results": tmp_path / "results", "runs": tmp_path / "runs", "device": "cpu"}
    table = ablate(tmp_path / "more.toml", seeds=2, **folders)
    rows = [line for line in table.read_text().splitlines() if line.startswith(("| without", "| with "))]
    assert len(rows) == 2
    assert "| +0.000 |" in rows[0]
    arms = json.loads((tmp_path / "results/more.json").read_text())["arms"]
    assert [len(runs) for runs in arms.values()] == [2, 2]
    assert arms["without"][0]["parameters"] < arms["with"][0]["parameters"]
    checkpoints = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/config.json")}
    assert len(checkpoints) == 4
    assert ablate(tmp_path / "more.toml", seeds=2, **folders).read_text() == table.read_text()


def test_how_long_it_takes_is_told_before_and_after_each_training(recipe, tmp_path, monkeypatch):
    """By the forecast, trainings without take 10 minutes and those with 30; each takes twice as long."""
    (tmp_path / "more.toml").write_text(TINY)
    clock, lines = Clock(), []
    monkeypatch.setattr("refilm.training.ablation.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(
        "refilm.training.ablation.seconds_of_training",
        lambda config, steps, device: 60.0 * (10 if config.config["ls3d_blocks"] == [] else 30),
    )

    def trained(recipe, minutes, settings, *others, **more):
        clock.now += 2 * 60 * (10 if "config.ls3d_blocks=[]" in settings else 30)
        return train(recipe, minutes, settings, *others, **more)

    monkeypatch.setattr("refilm.training.ablation.train", trained)
    folders = {"results": tmp_path / "results", "runs": tmp_path / "runs", "device": "cpu"}
    ablate(tmp_path / "more.toml", seeds=2, note=lines.append, **folders)
    assert lines[0] == "4 trainings, about 1 h 20 min in all, by a few steps of each"
    assert [re.search(r"dB; (.*)", line)[1] for line in lines[1:]] == [
        "1 of 4 done, about 2 h 20 min left",
        "2 of 4 done, about 1 h 20 min left",
        "3 of 4 done, about 1 h 0 min left",
        "4 of 4 done",
    ]
    lines.clear()
    ablate(tmp_path / "more.toml", seeds=3, note=lines.append, **folders)
    assert lines[0] == "6 trainings, about 40 min in all, by a few steps of each"


def test_a_forecast_counts_steps_validations_and_clips(recipe, tmp_path, monkeypatch):
    clock = Clock()
    for module in ("forecast", "problem"):
        monkeypatch.setattr(f"refilm.training.{module}.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr("refilm.training.deadline.monotonic", clock)

    def slow(name, seconds):
        own = getattr(Interpolation, name)

        def method(*arguments):
            clock.now += seconds
            return own(*arguments)

        monkeypatch.setattr(Interpolation, name, method)

    slow("loss_of", 7)
    slow("validate", 20)
    for number in range(9):
        write_clip(tmp_path / "mine" / f"{number}.mkv", count=5, height=32, width=48)
    config = read_recipe(recipe, ["steps=10", "val_every=5"], tmp_path / "mine")
    # two validations of one clip, and one at the end
    assert seconds_of_training(config, 10, "cpu") == 10 * 7 + 3 * 20


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_ablations_fit_their_recipes_and_name_no_data(path):
    ablation = read_ablation(path)
    for arm in ablation.arms:
        config = read_recipe(ablation.recipe, [*ablation.settings, *arm.settings])
        assert (config.train, config.val, config.data) == ((), "", "")


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "a.toml").write_text('claim = "x"\nrecipe = "b.toml"')
    with pytest.raises(RefilmError, match=r"needs claim, recipe and .* missing 'arm'"):
        read_ablation(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text('claim = "x"\nrecipe = "b.toml"\n[[arm]]\nname = "y"')
    with pytest.raises(RefilmError, match=r"b\.toml does not exist"):
        read_ablation(tmp_path / "a.toml")
