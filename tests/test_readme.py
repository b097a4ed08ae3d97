"""What the README shows is run."""

import re
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def beside_examples(tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_gives_what_its_comments_say(beside_examples):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(code, names)
    assert names["report"].frames_out == 499
    assert names["frame"].rgb.shape == (3, 272, 640)
    assert names["frame"].time == Fraction(0)
    assert names["model"](names["clip"]).shape == (1, 3, 5, 64, 96)


def test_every_command_in_it_exists_and_takes_its_options():
    commands = [line.split("#")[0] for line in README.splitlines() if line.startswith("    refilm ")]
    assert len(commands) >= 6
    for command in commands:
        words = [sys.executable, "-m", "refilm.cli.main", *shlex.split(command)[1:]]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        # the files it names are the reader's: that they are missing is all there may be to say
        missing = "no such file", "no such weight file", "no picture"
        assert done.returncode == 0 or any(words in done.stderr for words in missing), done.stderr


def test_every_file_it_links_to_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target
