"""Forms have all options that a page may offer, and a filled-in form becomes the job that it describes."""

from dataclasses import fields
from pathlib import Path

import pytest

from refilm import options
from refilm.errors import UsageError
from refilm.models import MODELS
from refilm.tasks import TASKS
from refilm.web.films import Film
from refilm.web.wishes import forms, wanted_job

FILM = Film("film", "My film.mov", Path("/films/f.mov"), False, {"duration": "20"})
RESULTS = Path("/results")


def asked(verb, options=None, **more):
    return wanted_job(FILM, RESULTS, {"verb": verb, "options": options or {}, **more})


def fields_of(form):
    return {field["name"]: field for group in form["groups"] for field in group["fields"]}


def test_there_is_a_form_for_each_task_and_for_several():
    ready = [
        task.verb for task in TASKS.values() if any(row.task == task.name and row.weights for row in MODELS.values())
    ]
    assert [form["verb"] for form in forms()] == ["enhance", *ready]


def test_forms_have_the_options_of_the_dataclasses_with_their_documentation():
    form = next(form for form in forms() if form["verb"] == "denoise")
    shown = fields_of(form)
    assert [name for name in shown if name in {f.name for f in fields(options.Denoise)}] == ["sigma", "strength"]
    assert shown["sigma"]["help"] == options.documentation(options.Denoise)["sigma"]
    assert (shown["purpose"]["type"], shown["purpose"]["label"]) == ("choice", "for")
    assert shown["purpose"]["choices"] == ["browser", "editing", "archive", "phone"]
    assert (shown["scene_cuts"]["type"], shown["scene_cuts"]["default"]) == ("switch", True)
    assert (shown["crf"]["type"], shown["tile"]["type"], shown["from_time"]["label"]) == ("number", "whole", "from")


def test_no_form_has_an_option_that_names_a_file_or_a_machine_or_replaces_a_file():
    for form in forms():
        assert not {"weights", "models", "through", "on", "overwrite", "restart", "preview"} & set(fields_of(form))
        assert all("/" not in model for model in form["models"])


@pytest.mark.parametrize(
    ("verb", "given", "function", "output"),
    [
        ("upscale", {"scale": 2}, "upscale", "My film-upscale.mkv"),
        ("upscale", {"purpose": "browser"}, "upscale", "My film-upscale.mp4"),
        ("enhance", {"denoise": True, "upscale": 2, "purpose": "editing"}, "enhance", "My film-enhance.mov"),
        ("recognize", {"every": "2s"}, "timeline", "My film-recognize.csv"),
        ("detect", {"min_score": 0.5}, "detections", "My film-detect.jsonl"),
        ("encode", {"quality": 3}, "encode", "My film-encode.rfv"),
    ],
)
def test_a_job_calls_the_function_of_its_task_with_what_was_chosen(verb, given, function, output):
    job = asked(verb, given)
    (step,) = job.steps
    assert (step.verb, step.source, step.output) == (function, "/films/f.mov", f"/results/{job.id}/{output}")
    assert given.items() <= step.options.items()
    assert step.options["leave_finished"]
    assert all(name.replace("purpose", "for").replace("_", " ") in job.title for name in given)


def test_a_preview_is_the_same_part_before_and_after_as_browsers_play_it():
    job = asked("interpolate", {"times": 4, "purpose": "archive", "codec": "ffv1"}, preview=True)
    before, after = job.steps
    assert (before.options["from_time"], before.options["to_time"]) == ("15/2", "25/2")  # the middle
    assert (after.options["from_time"], after.options["preview"]) == ("15/2", 5)
    assert (before.options["strength"], after.options["times"]) == (0.0, 4)
    assert {step.options["purpose"] for step in job.steps} == {"browser"}
    assert {step.options["codec"] for step in job.steps} == {None}
    assert asked("denoise", {"from_time": "1:00"}, preview=True).steps[1].options["from_time"] == "60"


def test_what_makes_no_pictures_has_no_preview():
    with pytest.raises(UsageError, match="recognize makes none"):
        asked("recognize", preview=True)


@pytest.mark.parametrize(
    ("verb", "given", "message"),
    [
        ("delete", {}, "no task is called 'delete'"),
        (None, {}, "wanted the name of a task"),
        ("upscale", {"scale": 0}, "scale must be at least 1"),
        ("upscale", {"scale": "2"}, "scale is a whole number, got '2'"),
        ("upscale", {"scale": True}, "scale is a whole number, got True"),
        ("denoise", {"strength": 2}, "strength is a number from 0 to 1"),
        ("denoise", {"purpose": "cinema"}, "--for is one of"),
        ("denoise", {"scene_cuts": 1}, "scene-cuts is on or off"),
        ("denoise", {"codec": ["libx264"]}, "codec is text"),
        ("denoise", {"weights": "/etc/passwd"}, "has no option weights"),
        ("recognize", {"through": "/etc/passwd"}, "has no option through"),
        ("denoise", {"on": "ray://10.0.0.1:10001"}, "has no option on"),
        ("recognize", {"crf": 20}, "has no option crf"),
        ("denoise", {"overwrite": True, "path_out": "x"}, "has no option overwrite, path_out"),
        ("enhance", {}, "nothing is asked for"),
    ],
)
def test_what_is_not_on_the_form_or_makes_no_sense_is_refused(verb, given, message):
    with pytest.raises(UsageError, match=message):
        asked(verb, given)


def test_a_model_is_one_of_those_for_the_task():
    assert asked("interpolate", model="flow-blend").steps[0].options["model"] == "flow-blend"
    for verb, model in (
        ("denoise", "flow-blend"),
        ("enhance", "flow-blend"),
        ("denoise", "/w.safetensors"),
        ("denoise", 3),
    ):
        with pytest.raises(UsageError, match="no model for"):
            asked(verb, {"denoise": True} if verb == "enhance" else {}, model=model)
