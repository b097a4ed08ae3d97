"""Every event that a real run prints with --json is as the schema says, which names every field."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

import refilm
from refilm.cli import console
from refilm.cli.events import SCHEMA, SCHEMA_VERSION
from refilm.cli.main import run
from refilm.jobs.analysis import Analysis
from refilm.jobs.batch import Outcome
from refilm.jobs.report import Report, WholeEstimate

COMMAND = ["interpolate", "--model", "flow-blend", "--preset", "ultrafast", "--json"]


def without_other_fields(schema):
    """The same schema for a writer, who is to print no field that is not named; readers ignore such fields."""
    if isinstance(schema, dict):
        strict = {key: without_other_fields(value) for key, value in schema.items()}
        return {"additionalProperties": False} | strict if "properties" in schema else strict
    return [without_other_fields(value) for value in schema] if isinstance(schema, list) else schema


@pytest.fixture
def events(capsys):
    """events(arguments): the events that a command prints, each checked against the schema."""
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(without_other_fields(json.loads(SCHEMA.read_text())))

    def of(arguments, command=COMMAND):
        run([*command, *map(str, arguments)])
        printed = capsys.readouterr()
        assert printed.err == ""
        found = [json.loads(line) for line in printed.out.splitlines()]
        for event in found:
            validator.validate(event)
        return found

    return of


def test_a_job_tells_its_version_and_plan_its_progress_its_warnings_and_its_report(
    events, media, tmp_path, monkeypatch
):
    monkeypatch.setattr(console, "_SECONDS_BETWEEN_LINES", 0.0)
    output = tmp_path / "out.mp4"
    told = events([media("companions-mkv").path, output, "--drop-streams"])
    assert {event["event"] for event in told} == {"start", "progress", "warning", "done"}
    (start,) = (event for event in told if event["event"] == "start")
    report = told[-1]["report"]
    assert (start["refilm"], start["schema"]) == (refilm.__version__, SCHEMA_VERSION)
    assert start["planned_memory_mb"] == report["planned_memory_mb"]
    assert report == json.loads((tmp_path / "out.mp4.json").read_text())


def test_a_preview_reports_what_the_whole_would_take(events, media, tmp_path):
    told = events([media("cfr-24").path, tmp_path / "out.mp4", "--preview", "0.5"])
    assert told[-1]["event"] == "done"
    assert told[-1]["report"]["whole"]["frames"] == 24


def test_a_job_that_fails_ends_with_an_error(events, tmp_path):
    (error,) = events(["missing.mp4", tmp_path / "out.mp4"])
    assert (error["event"], error["exit_code"]) == ("error", 1)
    (error,) = events(["missing.mp4"])
    assert (error["event"], error["exit_code"]) == ("error", 2)


def test_what_a_film_asks_for_is_told(events, media, tmp_path, monkeypatch):
    monkeypatch.setattr("refilm.api.stage_seconds", lambda stages, info: 5.0)
    source, output = media("cfr-24").path, tmp_path / "out.mp4"
    (told,) = events([source, output], ["enhance", "--json"])
    assert (told["event"], told["analysis"]["optional"]) == ("analysis", {"times": 2})
    assert told["command"] == told["line"]
    assert "--upscale 4" in told["command"]
    (told,) = events([media("interlaced").path, output], ["enhance", "--json"])
    assert (told["command"], told["analysis"]["first"]) == (None, told["line"])
    assert list(tmp_path.iterdir()) == []


def test_many_jobs_name_their_files_and_end_with_a_summary(events, media, broken, tmp_path):
    told = events([media("cfr-24").path, broken("audio-only"), "--output-dir", tmp_path])
    assert {event["event"] for event in told} >= {"start", "done", "error", "summary"}
    assert all({"input", "output"} <= set(event) for event in told[:-1])
    assert [job["state"] for job in told[-1]["jobs"]] == ["done", "failed"]


def test_the_schema_names_the_fields_of_reports_and_outcomes():
    kinds = json.loads(SCHEMA.read_text())["$defs"]
    kinds["whole"] = kinds["report"]["properties"]["whole"]
    for kind, name in ((Report, "report"), (WholeEstimate, "whole"), (Outcome, "outcome"), (Analysis, "found")):
        assert set(kinds[name]["required"]) == set(kinds[name]["properties"]) == {field.name for field in fields(kind)}


def test_the_schema_refuses_another_version():
    jsonschema = pytest.importorskip("jsonschema")
    error = {"event": "error", "schema": SCHEMA_VERSION, "message": "no such file", "exit_code": 1}
    jsonschema.validate(error, json.loads(SCHEMA.read_text()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(error | {"schema": SCHEMA_VERSION + 1}, json.loads(SCHEMA.read_text()))
