"""Which commands there are, and what they are told."""

from __future__ import annotations

import json
import shlex

from refilm.cli import main
from refilm.models import defaults


def test_a_task_without_a_measured_model_is_told_when_it_is_called(tmp_path, monkeypatch, capsys):
    entry = {"mean": {"psnr_db": 30.0}, "parameters": 0, "weights": None}
    result = {"model": "flow-blend", "baseline": False, "protocols": {"interpolation-x2": entry}}
    (tmp_path / "flow-blend.json").write_text(json.dumps(result))
    monkeypatch.setattr(defaults, "results_folder", lambda: tmp_path)
    assert main.run(["denoise", "a.mp4", "b.mp4"]) == 2
    assert "there is no default for denoising; name a model" in capsys.readouterr().err


def test_every_task_is_a_command_and_all_share_their_options(capsys):
    assert main.run(["--help"]) == 0
    named = capsys.readouterr().out
    assert all(word in named for word in ("interpolate", "denoise", "deblock", "upscale", "enhance"))
    assert "one-of-many" not in named
    for command in ("interpolate", "denoise", "deblock", "upscale", "enhance"):
        assert main.run([command, "--help"]) == 0
        named = capsys.readouterr().out
        assert all(option in named for option in ("--crf", "--tile", "--output-dir", "--overwrite", "--json"))


def test_a_chain_is_one_command(restorers, media, tmp_path, capsys):
    output = tmp_path / "out.mp4"
    wanted = ["--denoise", "--sigma", "25", "--deblock", "--upscale", "2", "--fps", "48", "--model", "flow-blend"]
    assert main.run(["enhance", str(media("cfr-24").path), str(output), *wanted]) == 0
    told = capsys.readouterr().err
    assert "24 in, 48 out: 0 kept, 24 restored" in told
    assert "soften, steady, double, flow-blend" in told
    assert main.run(["enhance", "a.mp4", "b.mp4", "--model", "flow-blend"]) == 2
    assert "nothing is asked for" in capsys.readouterr().err
    assert main.run(["enhance", "a.mp4", "b.mp4", "--auto", "--deblock"]) == 2
    assert "auto chooses what to do from the film; leave it out, or deblock" in capsys.readouterr().err


def test_without_a_task_the_film_is_looked_at_and_the_command_is_shown(media, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("refilm.api.stage_seconds", lambda stages, info: 5.0)
    source, output = str(media("cfr-24").path), tmp_path / "out.mp4"
    further = ["--from", "0:00.5", "--for", "editing", "--no-scene-cuts"]
    assert main.run(["enhance", source, str(output), *further]) == 0
    told = capsys.readouterr().out
    assert "what refilm sees" in told
    assert "about 2 min" in told
    command = shlex.split(told.splitlines()[-1])
    assert command[:4] == ["refilm", "enhance", source, str(output)]
    assert "--upscale" in command
    assert set(further) < set(command)
    assert list(tmp_path.iterdir()) == []
    assert main.run(["enhance", source, "--output-dir", str(tmp_path)]) == 2
    assert "--auto" in capsys.readouterr().err
