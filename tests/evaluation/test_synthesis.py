"""How a new frame comes about: each row of the sheet shows what the model says it does."""

import math
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import cv2
import pytest
import torch
from evaluation.clips import write_clip

from refilm.cli.main import run
from refilm.errors import UsageError, VideoError
from refilm.evaluation.synthesis import explain_synthesis, pictures
from refilm.models import create_model
from refilm.models.dain import OWN
from refilm.models.memc_net import OF_PLAIN
from refilm.weights import Weights, save_weights

HALF = Fraction(1, 2)


def weight_file(name, folder):
    model = create_model(name, weights=None)
    return save_weights(Weights(name, asdict(model.config), model.state_dict()), folder)


def moving(size=64):
    """Four frames of a smooth pattern that moves by 4 pixels to the right. -> [1, 3, 4, size, size]"""
    x = torch.arange(size).float()
    rows = [0.5 + 0.4 * torch.sin(0.3 * (x - 4 * n)) + 0.05 * torch.cos(1.1 * (x - 4 * n)) for n in range(4)]
    texture = 0.1 * torch.sin(0.5 * torch.arange(size).float())[:, None]
    return torch.stack([(row + texture).expand(3, size, size) for row in rows], dim=1)[None].clamp(0, 1)


@pytest.mark.parametrize(
    ("name", "share"), [("memc-net-small", 0.5 / (1 + OF_PLAIN)), ("dain-small", 0.5 / (1 + math.exp(-OWN)))]
)
def test_the_rows_show_the_steps_of_the_model(name, share):
    model = create_model(name, weights=None).eval()
    clip = moving()
    with torch.inference_mode():
        steps = model.explained(clip, HALF)
        rows = pictures(clip, steps)
        made = model.between(clip, [HALF])[0, :, 0]
    assert ("near is bright" in rows) == (name == "dain-small")
    assert all(row.shape == (2, 3, 64, 64) for row in rows.values())
    torch.testing.assert_close(rows["blend, result"][1], made.clamp(0, 1), atol=0.5 / 255, rtol=0)
    # untrained: both frames alike, and the rest is flow-blend's
    assert torch.equal(rows["weights"].unique(), torch.tensor([round(255 * share) / 255]))
    assert not rows["kernels"].any()  # untrained: bilinear
    middle = rows["motion"][:, :, 16:-16, 16:-16]
    # back to the first frame is to the left, which is cyan; on to the second is to the right, which is red
    assert middle[0, 0].mean() < 0.2 < 0.6 < middle[0, 1:].mean()
    assert middle[1, 1:].mean() < 0.2 < 0.6 < middle[1, 0].mean()


def test_the_command_writes_the_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_clip(tmp_path / "pan.mkv", count=3)
    weights = weight_file("dain-small", tmp_path)
    film, out = str(tmp_path / "pan.mkv"), tmp_path / "steps.png"
    assert run(["explain", film, str(out), "--model", str(weights), "--at", "0.05"]) == 0
    assert "how dain-small makes the frame between 0.040 s and 0.080 s" in capsys.readouterr().out
    assert cv2.imread(str(out)).shape == (7 * 64, 150 + 2 * 96, 3)
    assert run(["explain", film, str(out), "--model", str(weights), "--at", "soon"]) == 2
    assert "--at wants T or T,X,Y such as 2.5,320,180" in capsys.readouterr().err


def test_what_is_not_there_is_named(tmp_path: Path):
    write_clip(tmp_path / "pan.mkv", count=3)
    with pytest.raises(UsageError, match="flow-blend wants a place: --at T,X,Y; a time alone is for memc-net,"):
        explain_synthesis(tmp_path / "pan.mkv", 0, tmp_path / "out.png", "flow-blend")
    weights = weight_file("memc-net-small", tmp_path)
    with pytest.raises(UsageError, match=r"no two frames around 7 s"):
        explain_synthesis(tmp_path / "pan.mkv", 7, tmp_path / "out.png", "memc-net-small", weights)
    with pytest.raises(VideoError, match="cannot be written; the folder must exist"):
        explain_synthesis(tmp_path / "pan.mkv", 0, tmp_path / "nowhere" / "out.png", "memc-net-small", weights)
