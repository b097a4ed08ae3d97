"""`refilm recognize`, as people and programs call it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from media import ffprobe
from toys import shade
from toys.films import write_levels

from refilm.cli.main import run
from refilm.models import MODELS

MODEL = ["--model", "shade"]


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setitem(MODELS, "shade", shade.ROW)
    # on a busy machine, even a short job would tell its progress
    monkeypatch.setattr("refilm.cli.console._SECONDS_BETWEEN_LINES", 1e9)
    monkeypatch.setattr("refilm.cli.console._SHORT", 1e9)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_levels(tmp_path_factory.mktemp("films") / "film.mkv", [30] * 50 + [225] * 50)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_what_happens_is_printed_as_a_table_in_which_neighbours_that_are_alike_are_one(film, capsys):
    assert run(["recognize", str(film), *MODEL]) == 0
    shown = capsys.readouterr()
    first, second = shown.out.splitlines()
    assert re.fullmatch(r"0:00:00\.0  0:00:02\.0  dark \d+%, gray \d+%, bright \d+%", first)
    assert second.startswith("0:00:02.0  0:00:04.0  bright ")
    assert shown.err == ""
    assert [path.name for path in film.parent.iterdir()] == ["film.mkv"], "nothing is kept"


def test_json_is_one_event_a_window(film, capsys):
    assert run(["recognize", str(film), *MODEL, "--topk", "1", "--json"]) == 0
    told = lines(capsys.readouterr().out)
    found = [event for event in told if event["event"] == "recognized"]
    assert [(event["start"], event["end"]) for event in found] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [[label["label"] for label in event["labels"]] for event in found] == [["dark"]] * 2 + [["bright"]] * 2
    assert told[-1]["event"] == "done"
    assert told[-1]["report"]["events"] == 4


def test_each_event_is_as_the_schema_says(film, tmp_path, capsys):
    jsonschema = pytest.importorskip("jsonschema")
    from refilm.cli.events import SCHEMA

    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    run(["recognize", str(film), str(tmp_path / "missing.mp4"), *MODEL, "--json"])
    told = lines(capsys.readouterr().out)
    for event in told:
        validator.validate(event)
        assert event["input"] in (str(film), str(tmp_path / "missing.mp4"))
    assert {event["event"] for event in told} >= {"recognized", "done", "error"}


def test_one_bad_film_stops_no_other(film, broken, tmp_path, capsys):
    folder = tmp_path / "day"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"no film")
    os.link(film, folder / "b.mkv")
    assert run(["recognize", str(folder), str(film), *MODEL]) == 1
    shown = capsys.readouterr()
    assert [line for line in shown.out.splitlines() if not line.startswith("0:")] == [
        str(folder / "a.mp4"),
        str(folder / "b.mkv"),
        str(film),
    ]
    assert shown.out.count("bright 100%") == 2
    (error,) = shown.err.splitlines()
    assert "a.mp4" in error


@pytest.mark.parametrize(("flag", "name"), [("--csv", "a.txt"), ("--srt", "a.srt"), ("--timeline", "a.png")])
def test_a_file_is_written_as_the_flag_says_with_a_report_beside_it(film, tmp_path, flag, name, capsys):
    assert run(["recognize", str(film), *MODEL, flag, str(tmp_path / name)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.json"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100 in" in shown.err
    assert "kept" not in shown.err, "no frames are made"


def test_chapters_of_a_copy_are_found_by_ffprobe(film, tmp_path):
    assert run(["recognize", str(film), *MODEL, "--shots", "--chapters", str(tmp_path / "out.mkv")]) == 0
    chapters = ffprobe(tmp_path / "out.mkv", "-show_chapters")["chapters"]
    assert [chapter["tags"]["title"] for chapter in chapters] == ["dark", "bright"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "wanted at least one FILE"),
        (["a.mp4", "--csv", "a.csv", "--srt", "a.srt"], 2, "one file is written at a time"),
        (["a.mp4", "b.mp4", "--csv", "a.csv"], 2, "one file has one input; for more, give --output-dir"),
        (["a.mp4", "--output-dir", "labels"], 2, "with --output-dir, --suffix says what to write: one of .csv,"),
        (["a.mp4", "--output-dir", "labels", "--suffix", ".doc"], 2, "got '.doc'"),
        (["a.mp4", "--drop-streams"], 2, "--drop-streams is about what a copy with --chapters holds"),
        (["a.mp4", "--every", "2s", "--shots"], 2, "give one of them"),
        (["a.mp4", "--every", "0"], 2, "above 0"),
        (["a.mp4", *MODEL, "--from-small", "--through", "vsr-ls3d-small"], 2, "give one of them"),
        (["a.mp4", *MODEL, "--through", "a+b+c"], 2, "a model, or two, A+B"),
        (["a.mp4", *MODEL, "--through", "vdn-ls3d-small"], 2, "is a model for denoising, not for super-resolution"),
        (["a.mp4", *MODEL, "--through", "nothing"], 2, "no model is called 'nothing'"),
        (["a.mp4", "--model", "flow-blend"], 2, "flow-blend is a model for interpolation, not for recognition"),
        (["a.mp4", *MODEL, "--overwrite"], 2, "restart and overwrite are about a file that is written"),
        (["missing.mp4", *MODEL], 1, "missing.mp4: no such file"),
        (["missing*.mp4", *MODEL], 1, "nothing matches this pattern"),
    ],
)
def test_wrong_usage_is_told_in_one_line(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["recognize", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_from_small_without_weights_says_what_to_do(film, monkeypatch, capsys):
    monkeypatch.setitem(MODELS, "sosr-small", replace(MODELS["sosr-small"], weights=None))
    assert run(["recognize", str(film), *MODEL, "--from-small"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no weights ship for sosr-small; name another model, or a weight file: --through vsr-real-small" in line


def test_a_small_film_is_enlarged_before_it_is_seen(film, tmp_path, capsys):
    assert run(["recognize", str(film), *MODEL, "--through", "vsr-ls3d-small", "--csv", str(tmp_path / "a.csv")]) == 0
    assert f"model     vsr-ls3d-small ({MODELS['vsr-ls3d-small'].weights}), shade" in capsys.readouterr().err
    assert run(["recognize", str(film), *MODEL, "--csv", str(tmp_path / "b.csv")]) == 0
    first, second = ((tmp_path / name).read_text().splitlines() for name in ("a.csv", "b.csv"))
    told = [[row.split(",")[:4] for row in rows] for rows in (first, second)]
    assert told[0] == told[1], "flat pictures look as they did"
    report = json.loads((tmp_path / "a.csv.json").read_text())
    assert report["weights"] == [MODELS["vsr-ls3d-small"].weights]
    assert report["settings"]["recognize"]["through"][0]["model"] == "vsr-ls3d-small"


def test_help_has_examples(capsys):
    assert run(["recognize", "--help"]) == 0
    told = capsys.readouterr().out
    for words in ("refilm recognize holiday.mp4", "--every 10s", "--chapters", "--output-dir labels/ --suffix .csv"):
        assert words in told


def command(*arguments):
    """The arguments of a process that runs the command with the toy model, and its environment."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return [sys.executable, "-m", "toys.shade", "recognize", *map(str, arguments)], environment


def test_a_film_comes_through_a_pipe(film):
    arguments, environment = command("-")
    done = subprocess.run(arguments, input=film.read_bytes(), capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_ctrl_c_keeps_what_is_done_for_the_same_command(tmp_path):
    film, output = write_levels(tmp_path / "film.mkv", [30, 225] * 500), tmp_path / "labels.csv"
    arguments, environment = command(film, "--csv", output)
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment)
    # it has told of the first piece when there is a second one
    while len(list(tmp_path.glob("*.refilm/0*.json"))) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 130, told
    assert "run the same command again" in told
    assert not output.exists()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "labels.csv.json").read_text())["frames_in"] == 1000
    assert {path.name for path in tmp_path.iterdir()} == {"film.mkv", "labels.csv", "labels.csv.json"}
    assert len(output.read_text().splitlines()) == 1 + 3 * 40


def test_many_films_become_a_file_each_of_the_kind_that_the_suffix_says(film, tmp_path, monkeypatch, capsys):
    given = {}

    def note(verb, pairs, options, jobs, listener):
        given.update(verb=verb, pairs=pairs, options=options, jobs=jobs)
        return []

    monkeypatch.setattr("refilm.jobs.batch.run_many", note)
    out = tmp_path / "labels"
    many = ["--output-dir", str(out), "--suffix", ".srt", "--jobs", "2", "--shots"]
    assert run(["recognize", str(film.parent), *MODEL, *many]) == 0
    assert (given["verb"], given["pairs"], given["jobs"]) == ("timeline", [(film, out / "film.srt")], 2)
    # what the process of one of them is told, and does
    job = {"verb": "timeline", "source": str(film), "output": str(out / "film.srt"), "options": given["options"]}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(job)))
    capsys.readouterr()
    assert run(["one-of-many", "--json"]) == 0
    assert lines(capsys.readouterr().out)[-1]["event"] == "done"
    assert (out / "film.srt").read_text().count("-->") == 2
