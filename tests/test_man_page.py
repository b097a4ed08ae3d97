"""The manual page has what the command's help has, and is one that `man` shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import refilm
from refilm.cli.main import app

pytest.importorskip("docutils", reason="docutils is not installed, which makes the manual page")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file, tool = tmp_path_factory.mktemp("man") / "refilm.1", Path(__file__).parents[1] / "tools" / "man_page.py"
    file.write_text(subprocess.run([sys.executable, tool], capture_output=True, text=True, check=True).stdout)
    return file


def test_it_has_name_section_and_version(page):
    assert re.search(rf'^\.TH "refilm" "1" .*"{refilm.__version__}"', page.read_text(), re.MULTILINE)
    assert r"refilm \- Make video better" in page.read_text()


def test_it_has_every_command_with_its_options(page):
    text = page.read_text().replace(r"\-", "-")
    for command in (name for name in app if not name.startswith("-") and app[name].show):
        assert re.search(rf"^\.SH {command}$", text, re.MULTILINE | re.IGNORECASE), command
    for words in ("--strength FLOAT", "--max-memory", "clean film is left", "weights convert --model STR"):
        assert words in text


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man")
def test_man_shows_it_without_a_complaint(page):
    done = subprocess.run(
        ["man", "--warnings=w", "--local-file", str(page)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
    )
    assert done.stderr == ""
    assert "refilm denoise [OPTIONS] [ARGS...]" in done.stdout
    assert "::" not in done.stdout, "no marks of reStructuredText are left"
