import json

import pytest

pytest.importorskip("lightning")

from pathlib import Path

from refilm.errors import RefilmError
from refilm.training import ablate, read_recipe
from refilm.training.ablation import read_ablation

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


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_ablations_fit_their_recipes(path, monkeypatch):
    monkeypatch.setattr("refilm.training.recipe._find", lambda name, folder: name)  # the packs may be elsewhere
    ablation = read_ablation(path)
    for arm in ablation.arms:
        read_recipe(ablation.recipe, [*ablation.settings, *arm.settings])


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "a.toml").write_text('claim = "x"\nrecipe = "b.toml"')
    with pytest.raises(RefilmError, match=r"needs claim, recipe and .* missing 'arm'"):
        read_ablation(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text('claim = "x"\nrecipe = "b.toml"\n[[arm]]\nname = "y"')
    with pytest.raises(RefilmError, match=r"b\.toml does not exist"):
        read_ablation(tmp_path / "a.toml")
