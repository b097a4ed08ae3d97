import json

import cv2
import numpy as np
import pytest

from refilm.cli.main import run


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film").mkdir()
    for number in range(30):
        picture = np.full((32, 48, 3), 200, np.uint8)
        cv2.circle(picture, (10 + number, 16), 6, (40, 60, 160), -1)
        cv2.imwrite(str(tmp_path / "film" / f"{number:02d}.png"), picture)
    return "film/03.png", "film/25.png"


def test_by_motion_a_film_is_made(pictures, tmp_path):
    assert run(["morph", *pictures, "out.mp4", "--by", "motion", "--frames", "6", "--model", "flow-blend"]) == 0
    assert json.loads((tmp_path / "out.mp4.json").read_text())["frames_out"] == 6


def test_a_space_is_learned_kept_and_used_again(pictures, tmp_path, capsys):
    pytest.importorskip("lightning")
    learn = ["--learn-from", "film", "--minutes", "0.15", "--side", "24", "--keep", "spaces"]
    code = run(["morph", *pictures, "out.mp4", "--frames", "6", *learn])
    said = capsys.readouterr().err
    (space,) = (tmp_path / "spaces").iterdir()
    assert f"space: spaces/{space.name}" in said
    assert code == 0 or "does not know these pictures" in said, "seconds may be too few to learn"
    assert run(["morph", *pictures, "again.mp4", "--frames", "6", "--weights", f"spaces/{space.name}"]) == code


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["out.mp4"], 2, "wanted A B OUT"),
        (["film/03.png", "out.mp4"], 2, "wanted A B OUT"),
        (["film/03.png", "film/04.png", "out.mp4", "--keep", "spaces"], 2, "add --learn-from"),
        (["film/03.png", "film/04.png", "out.mp4", "--learn-from", "film", "--by", "motion"], 2, "--by motion"),
        (["film/03.png", "film/04.png", "out.mp4", "--learn-from", "nowhere"], 1, "no such file or folder"),
        (["film/03.png", "film/04.png", "out.mp4", "--learn-from", "few"], 1, "holds 3 pictures"),
        (["film/03.png", "film/04.png", "out.mp4", "--learn-from", "film", "--minutes", "0"], 2, "minutes must be"),
        (["film/03.png", "film/04.png", "nowhere/out.mp4", "--learn-from", "film"], 1, "no such folder"),
        (["film/03.png", "missing.png", "out.mp4", "--learn-from", "film"], 1, "no such file"),
        (["film/03.png", "film/04.png", "out.mp4", "--device", "tpu"], 2, "no device is called 'tpu'"),
        (["film/03.png", "film/04.png", "out.mp4"], 1, "--by motion"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(pictures, tmp_path, capsys, arguments, code, message):
    pytest.importorskip("lightning")
    (tmp_path / "few").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "few" / f"{number}.png"), np.zeros((32, 48, 3), np.uint8))
    assert run(["morph", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out.mp4").exists()
