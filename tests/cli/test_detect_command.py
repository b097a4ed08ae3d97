"""`refilm detect`, as people and programs call it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toys import glow
from toys.glow import write_lamps

from refilm.cli.main import run
from refilm.models import MODELS

MODEL = ["--model", "glow"]


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setitem(MODELS, "glow", glow.ROW)
    # on a busy machine, even a short job would tell its progress
    monkeypatch.setattr("refilm.cli.console._SECONDS_BETWEEN_LINES", 1e9)
    monkeypatch.setattr("refilm.cli.console._SHORT", 1e9)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_lamps(tmp_path_factory.mktemp("films") / "film.mkv", [None] * 5 + [10] * 5)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_frames_with_objects_are_printed(film, capsys):
    assert run(["detect", str(film), *MODEL]) == 0
    shown = capsys.readouterr()
    printed = shown.out.splitlines()
    assert len(printed) == 5
    assert re.fullmatch(r"0:00:00\.2  lamp 1 75% [\d.,]+", printed[0])
    assert shown.err == ""
    assert [path.name for path in film.parent.iterdir()] == ["film.mkv"], "nothing is kept"


def test_json_is_one_event_a_frame_as_the_schema_says(film, capsys):
    jsonschema = pytest.importorskip("jsonschema")
    from refilm.cli.events import SCHEMA

    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert run(["detect", str(film), *MODEL, "--json"]) == 0
    told = lines(capsys.readouterr().out)
    for event in told:
        validator.validate(event)
    found = [event for event in told if event["event"] == "detections"]
    assert [event["frame"] for event in found] == list(range(10))
    assert [event["time"] for event in found] == pytest.approx([n / 25 for n in range(10)])
    assert found[0]["boxes"] == []
    assert set(found[9]["boxes"][0]) == {"box", "label", "score", "track"}
    assert told[-1]["event"] == "done"


def test_files_are_written_by_their_flags(film, tmp_path, capsys):
    for flag, name in (("--csv", "a.csv"), ("--mot", "a.txt"), ("--jsonl", "a.jsonl"), ("--draw", "a.mkv")):
        assert run(["detect", str(film), *MODEL, flag, str(tmp_path / name), "--min-score", "0.5"]) == 0
        assert (tmp_path / name).exists()
    assert run(["detect", str(film), *MODEL, "--mot", str(tmp_path / "any.name")]) == 0
    assert (tmp_path / "any.name").read_text() == (tmp_path / "a.txt").read_text()


def test_a_killed_command_goes_on(film, tmp_path):
    long = write_lamps(tmp_path / "long.mkv", [10 + n % 60 for n in range(400)])
    command = [sys.executable, glow.__file__, "detect", str(long), "--csv", str(tmp_path / "out.csv")]
    environment = os.environ | {"PYTHONPATH": str(Path(glow.__file__).parents[1])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = tmp_path / "out.csv.refilm"
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(400))
    assert {row.split(",")[2] for row in rows} <= {str(n) for n in range(1, 9)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "wanted at least one FILE"),
        (["a.mp4", "--csv", "a.csv", "--mot", "a.txt"], "one file is written at a time"),
        (["a.mp4", "b.mp4", "--csv", "a.csv"], "give --output-dir FOLDER --suffix .csv"),
        (["a.mp4", "--crf", "20"], "add --draw"),
        (["a.mp4", "--output-dir", "x", "--suffix", ".doc"], "--suffix says what to write"),
        (["a.mp4", "--min-score", "0"], "above 0 and at most 1"),
        (["missing.mp4"], "missing.mp4: no such file"),
    ],
)
def test_bad_usage_is_told_in_one_line(arguments, message, capsys):
    assert run(["detect", *arguments, *MODEL]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
