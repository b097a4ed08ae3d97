"""What docs/fine_tuning.md shows is run, in small."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from data.test_packing import moving, write_film
from evaluation.clips import write_clip

pytest.importorskip("lightning")

from refilm.cli.main import run
from refilm.weights import load_weights

ROOT = Path(__file__).parents[1]
COMMANDS = [line.strip() for line in (ROOT / "docs/fine_tuning.md").read_text().splitlines() if line.startswith("    ")]
SMALL = "--set steps=2 --set val_every=2 --set batch=1 --set crop=32 --set precision=float32 --device cpu"


def smaller(command):
    """The same command with less to do: two steps instead of half an hour, and of the ablation one short training."""
    return command.replace("--minutes 30", SMALL).replace("recipes/ablations/table7.toml", "tiny.toml --device cpu")


def test_every_command_leads_to_the_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "films").mkdir()
    for name in ("sea", "wood"):
        write_film(tmp_path / "films" / f"{name}.mkv", [moving(14)])
    write_clip(tmp_path / "apart" / "town.mkv", count=3)
    write_clip(tmp_path / "noisy.mkv", count=3)
    settings = ["steps=1", "val_every=1", "batch=1", "crop=32", "config.channels=8", "config.blocks=1"]
    arm = '[[arm]]\nname = "3D-Conv"\nsettings = ["config.ls3d_blocks=[]"]\n'
    tiny = f'claim = "x"\nrecipe = "recipes/vdn_ls3d_small.toml"\nsettings = {json.dumps(settings)}\n{arm}'
    (tmp_path / "tiny.toml").write_text(tiny)

    assert [shlex.split(command)[:2] for command in COMMANDS if command.startswith("refilm")] == [
        ["refilm", verb] for verb in ("data", "train", "eval", "eval", "denoise", "ablate")
    ]
    for command in map(smaller, COMMANDS):
        if command.startswith("refilm "):
            assert run(shlex.split(command)[1:]) == 0, command
        else:
            subprocess.run(command, shell=True, check=True)

    assert load_weights("weights/mine.safetensors").recipe["steps"] == 2
    held = json.loads((tmp_path / "results/after/apart/vdn-ls3d-small.json").read_text())
    (protocol,) = held["protocols"].values()
    assert protocol["weights"].startswith("vdn-ls3d-small-")
    assert (tmp_path / "clean.mkv").stat().st_size > 0
    assert "| 3D-Conv |" in (tmp_path / "results/ablations/tiny.md").read_text()
