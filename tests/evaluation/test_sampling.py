"""Where a model looks: exactly, for a model that is known; by its sense, for the one that ships."""

import re
from pathlib import Path

import cv2
import pytest
import torch
from evaluation.clips import write_clip

from refilm.cli.main import run
from refilm.errors import UsageError, VideoError
from refilm.evaluation.sampling import explain, gradient
from refilm.models.contract import Interpolator
from refilm.video import frames


class TwoPlaces(Interpolator):
    """Three quarters from 5 pixels left in the first frame, one quarter from 2 pixels below in the second."""

    task = "interpolation"
    window, reach, size_multiple = 4, None, 4

    def between(self, clip, times):
        _, first, second, _ = clip.unbind(2)
        return (0.75 * first.roll(5, -1) + 0.25 * second.roll(-2, -2))[:, :, None]


def test_the_gradient_stands_where_the_pixel_comes_from():
    strength = gradient(TwoPlaces(), torch.rand(3, 4, 30, 42), x=20, y=11)
    assert strength.shape == (2, 30, 42)
    assert strength.nonzero().tolist() == [[0, 11, 15], [1, 13, 20]]
    assert strength[strength > 0].tolist() == [2.25, 0.75]  # of three channels


def test_only_the_surroundings_are_computed():
    strength = gradient(TwoPlaces(), torch.rand(3, 4, 8, 1200), x=700, y=4)
    assert strength.nonzero().tolist() == [[0, 4, 695], [1, 6, 700]]


def test_fast_motion_is_looked_for_further_away(tmp_path: Path):
    still, fast = (tmp_path / f"{name}.mkv" for name in ("still", "fast"))
    write_clip(still, count=2, speed=0)
    write_clip(fast, count=2, speed=8)
    near, far = (explain(path, 0.01, 50, 30, tmp_path / f"{path.stem}.png") for path in (still, fast))
    assert far.distance > near.distance + 2
    assert far.points > near.points


def test_flow_blend_looks_where_the_motion_leads(tmp_path: Path):
    write_clip(tmp_path / "fast.mkv", count=2, speed=8)
    looked = explain(tmp_path / "fast.mkv", 0.01, 50, 30, tmp_path / "out.png", model="flow-blend")
    assert looked.distance == pytest.approx(4, abs=1)  # half of the motion, in either frame


@pytest.mark.parametrize(
    ("seconds", "seen"), [(0.01, [0, 0, 1, 2]), (0.05, [0, 1, 2, 3]), (0.09, [1, 2, 3, 4]), (0.13, [2, 3, 4, 4])]
)
def test_a_model_is_shown_the_frames_beyond_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, seen: list[int]
):
    write_clip(tmp_path / "pan.mkv", count=5)
    film = [frame.rgb.clamp(0, 1) for frame in frames(tmp_path / "pan.mkv")]
    shown = []

    def noted(model, clip, x, y):
        shown.extend(next(k for k, frame in enumerate(film) if torch.equal(frame, one)) for one in clip.unbind(1))
        return gradient(model, clip, x, y)

    monkeypatch.setattr("refilm.evaluation.sampling.gradient", noted)
    explain(tmp_path / "pan.mkv", seconds, 50, 30, tmp_path / "out.png", model="flow-blend")
    assert shown == seen


def test_the_picture_shows_both_frames_and_the_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_clip(tmp_path / "pan.mkv", count=3)
    assert run(["explain", str(tmp_path / "pan.mkv"), str(tmp_path / "out.png"), "--at", "0.05,50,30"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"out.png: \d+ points act on the pixel, [\d.]+ pixels away", said)
    assert "at 0.040 s and 0.080 s" in said
    picture = cv2.imread(str(tmp_path / "out.png")).astype(int)
    assert picture.shape == (2 * 64, 2 * 96, 3)
    red = (picture[..., 2] > picture[..., 0] + 100) & (picture[..., 2] > picture[..., 1] + 100)
    whole, near = red[:64], red[64:]
    for columns in (slice(0, 96), slice(96, None)):
        # eight times as large both ways, but for what the enlarged part does not show, and what green covers
        assert 0 < whole[:, columns].sum() < near[:, columns].sum()


def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_clip(tmp_path / "pan.mkv", count=3)
    write_clip(tmp_path / "one.mkv", count=1)
    with pytest.raises(UsageError, match=r"no two frames around 7 s; take a time from 0 to 0\.08 s"):
        explain(tmp_path / "pan.mkv", 7, 1, 1, tmp_path / "out.png")
    with pytest.raises(UsageError, match="96,1 lies outside the picture of 96x64 pixels; count from 0"):
        explain(tmp_path / "pan.mkv", 0, 96, 1, tmp_path / "out.png")
    with pytest.raises(UsageError, match=r"'vsr-ls3d' makes no new frames between two; take flow-blend, vi-ls3d,"):
        explain(tmp_path / "pan.mkv", 0, 1, 1, tmp_path / "out.png", model="vsr-ls3d")
    with pytest.raises(VideoError, match="one frame only"):
        explain(tmp_path / "one.mkv", 0, 1, 1, tmp_path / "out.png")
    with pytest.raises(VideoError, match="cannot be written; the folder must exist"):
        explain(tmp_path / "pan.mkv", 0, 1, 1, tmp_path / "nowhere" / "out.png")
    assert run(["explain", str(tmp_path / "pan.mkv"), str(tmp_path / "out.png"), "--at", "here"]) == 2
    assert "--at wants T,X,Y such as 2.5,320,180" in capsys.readouterr().err
