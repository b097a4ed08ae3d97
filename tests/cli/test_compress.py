"""refilm encode, refilm decode, and refilm probe of what the one makes."""

from __future__ import annotations

import json
import shutil

import pytest
from toys.codec import Squeeze

import refilm
from refilm.cli.main import run
from refilm.models import MODELS, Model


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(MODELS, "squeeze", Model("compression", lambda: (Squeeze, None), learned=False))


@pytest.fixture
def film(media, tmp_path):
    return shutil.copy(media("companions-mkv").path, tmp_path / "film.mkv")


def encode(film, *options):
    return run(["encode", str(film), *map(str, options), "--model", "squeeze", "--quality", "1", "--gop", "8"])


def test_a_film_is_encoded_told_of_and_decoded(film, tmp_path, capsys):
    assert encode(film, tmp_path / "film.rfv") == 0
    assert "squeeze" in capsys.readouterr().err
    assert run(["probe", str(tmp_path / "film.rfv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["codec"], told["container"]) == ("squeeze", "refilm bitstream")
    assert run(["decode", str(tmp_path / "film.rfv"), str(tmp_path / "out.mkv")]) == 0
    assert len(list(refilm.open(tmp_path / "out.mkv"))) == len(list(refilm.open(film)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quality", "0"], "quality must be at least 1"),
        (["--quality", "2"], "squeeze has qualities from 1 to 1, got 2"),
        (["--bpp", "0.1"], "quality and bpp exclude each other"),
        (["--effort", "4"], "effort is a whole number from 0 to 3"),
        (["--gop", "0"], "gop must be at least 1"),
        (["--model", "dncnn"], "dncnn is a model for deblocking, not for compression"),
        (["--preview", "1"], "encode writes a whole file"),
    ],
)
def test_what_makes_no_sense_is_told(film, tmp_path, capsys, options, message):
    arguments = ["encode", str(film), str(tmp_path / "out.rfv"), "--model", "squeeze", "--quality", "1", *options]
    if options[0] in ("--model", "--quality"):  # each once
        place = arguments.index(options[0])
        arguments = [a for n, a in enumerate(arguments) if n not in (place, place + 1)]
    assert run(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.rfv").exists()


def test_other_endings_and_other_films_are_refused(film, tmp_path, capsys):
    assert encode(film, tmp_path / "out.mkv") == 1
    assert "ends in .rfv" in capsys.readouterr().err
    assert run(["decode", str(film), str(tmp_path / "out.mkv")]) == 2
    assert "was not made by refilm encode" in capsys.readouterr().err
