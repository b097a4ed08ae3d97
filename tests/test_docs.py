"""The journeys in docs/ are made, each page from its beginning to its end."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import CLIPS, even, write

from refilm.cli.main import run

DOCS = Path(__file__).parents[1] / "docs"
STEP = re.compile(r"^    (\S[^\n]*)$|^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """The folder of a reader, with a film and a photograph in it."""
    write(tmp_path / "film.mkv", replace(CLIPS["companions-mkv"], times=even(26, 24)))
    cv2.imwrite(str(tmp_path / "photo.png"), np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", ["films", "programs"])
def test_every_step_of_the_page_works(page, at_home):
    steps, names = STEP.findall((DOCS / f"{page}.md").read_text()), {}
    assert len(steps) >= 6
    for command, code in steps:
        if code:
            if "import vapoursynth" in code and find_spec("vapoursynth") is None:
                continue
            exec(code, names)
        elif "|" in command:
            if shutil.which("ffmpeg") is not None:
                as_module = command.replace("refilm", f"{shlex.quote(sys.executable)} -m refilm.cli.main")
                subprocess.run(["bash", "-o", "pipefail", "-c", as_module], check=True, capture_output=True)
        else:
            assert run(shlex.split(command)[1:]) == 0, command


def test_the_examples_for_other_programs_work(at_home):
    pytest.importorskip("onnxscript")
    for code in re.findall(r"^```python\n(.*?)^```$", (DOCS / "export.md").read_text(), re.MULTILINE | re.DOTALL):
        names: dict = {}
        exec(code, names)
        assert names["frame"].shape == (1, 3, 64, 96)


def test_the_films_page_leaves_what_it_names(at_home):
    for command in ("denoise film.mkv clean.mkv --preview 0.5", "denoise film.mkv part.mkv --from 0.2 --to 0.8"):
        assert run(command.split()) == 0
    for name in ("clean.preview.mkv", "clean.preview.png", "part.mkv", "part.mkv.json"):
        assert (at_home / name).stat().st_size > 0
    assert not (at_home / "clean.mkv").exists()
