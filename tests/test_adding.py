"""There is room: models and tasks of the tests' own, added as the README says, from training to a finished job."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from evaluation.clips import write_clip
from toys.films import ramps, write_levels
from toys.interpolator import Lean, LeanConfig

import refilm
from refilm.evaluation import evaluate, psnr_db
from refilm.jobs.event_file import EventFile
from refilm.jobs.job import Job
from refilm.jobs.pieces import make_piece
from refilm.models import MODELS, Model, create_model
from refilm.stages.table import STAGES, TaskStages, Work
from refilm.tasks import TASKS
from refilm.weights import load_weights

# Two steps that show, whatever the model: no warm-up, and what is exported is what the second step has made.
TWO_STEPS = "steps = 2\nval_every = 2\nwarmup = 0\nema_decay = 0.0\nbatch = 4\n"


# --- a model ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film that pans, in a folder of its own: to train on, to measure on, and to smooth."""
    folder = tmp_path_factory.mktemp("lean") / "films"
    folder.mkdir()
    write_clip(folder / "pan.mkv", count=9, height=32, width=48)
    return folder / "pan.mkv"


@pytest.fixture(scope="module")
def lean(film):
    """The weight file of a model with a row in the table, after two steps by a recipe."""
    pytest.importorskip("lightning")
    from refilm.training import export, train

    folder = film.parents[1]
    recipe = 'model = "lean"\ntrain = ["films"]\nval = "films"\ncrop = 16\nlearning_rate = 0.1\n'
    (folder / "lean.toml").write_text(recipe + TWO_STEPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "lean", Model("interpolation", lambda: (Lean, LeanConfig(lean=0.5))))
        yield export(train(folder / "lean.toml", out=folder / "run", device="cpu"), folder / "weights")


@torch.inference_mode()
def made(model, first, second, times):
    """What the model itself makes between two frames, [3, H, W] each."""
    return model.between(torch.stack([first.rgb, second.rgb], dim=1)[None], times)[0].unbind(1)


def test_a_model_of_ones_own_learns_and_makes_the_new_frames_of_a_job(film, lean, tmp_path):
    model = create_model("lean", weights=lean)
    assert model.config == LeanConfig(lean=0.5)
    assert model.lean != 0.5
    output, times = tmp_path / "out.mkv", [Fraction(1, 3), Fraction(2, 3)]
    report = refilm.interpolate(film, output, times=3, model="lean", weights=lean, codec="ffv1")
    assert (report.frames_kept, report.frames_new, report.weights) == (9, 16, [lean.name])
    results = list(refilm.open(output))
    for number, (first, second) in enumerate(pairwise(refilm.open(film))):
        for place, picture in enumerate(made(model, first, second, times), start=1):
            planes = first.with_rgb(picture).planes
            frame = results[3 * number + place]
            assert all((a == b).all() for a, b in zip(frame.planes, planes, strict=True))


def test_a_model_of_ones_own_is_measured_by_the_frames_it_makes(film, lean, tmp_path):
    result = evaluate("lean", film.parent, weights=lean, results_dir=tmp_path / "results")
    assert (result.protocol, result.weights, result.parameters) == ("interpolation-x2", lean.name, 1)
    model, real = create_model("lean", weights=lean), list(refilm.open(film))
    kept = pairwise(real[::2])
    new = (made(model, first, second, [Fraction(1, 2)])[0] for first, second in kept)
    psnr = [psnr_db(picture, truth.rgb) for picture, truth in zip(new, real[1::2], strict=True)]
    assert result.mean("psnr_db") == pytest.approx(sum(psnr) / len(psnr), abs=1e-3)
    assert "| lean |" in (tmp_path / "results" / "films" / "interpolation.md").read_text()


# --- a task -----------------------------------------------------------------------------------------------------------

# Three scenes over six segments of eight frames; it turns on the borders of segments and within them.
SCENES = (
    ramps(60, [(7, 3), (8, -6), (6, 3)]),
    ramps(190, [(2, 3), (8, -6), (3, 3)]),
    ramps(50, [(9, 3), (1, -6), (2, 3)]),
)


def beginnings():
    """(time, label) of the events that such a film has."""
    number, found = 0, []
    for levels in SCENES:
        before = None
        for place in range(len(levels)):
            later, earlier = levels[min(place + 1, len(levels) - 1)], levels[max(place - 1, 0)]
            label = "brighter" if later > earlier else "darker"
            if label != before:
                found.append((Fraction(number, 25), label))
            number, before = number + 1, label
    return found


@pytest.fixture(scope="module")
def watching(tmp_path_factory):
    """The weight file of a model for a task with a row in each table, after two steps by a recipe."""
    pytest.importorskip("lightning")
    from toys import recognition as toy

    from refilm.training import export, train
    from refilm.training.trainers import TRAINERS, Trainer

    folder = tmp_path_factory.mktemp("watching")
    for name, step in (("up", 5), ("down", -5)):
        (folder / "clips" / name).mkdir(parents=True)
        for start in (100, 140):
            write_levels(folder / "clips" / name / f"{start}.mkv", ramps(start, [(4, step)]))
    recipe = 'model = "tell"\ntrain = ["clips"]\nclasses = ["up", "down"]\nlearning_rate = 1.0\n'
    (folder / "tell.toml").write_text(recipe + TWO_STEPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "watching", toy.WATCHING)
        patch.setitem(MODELS, "tell", Model("watching", lambda: (toy.Tell, toy.TellConfig())))
        patch.setitem(STAGES, "watching", toy.watch)
        patch.setitem(TRAINERS, "watching", Trainer(toy.WatchingConfig, toy.WatchingProblem))
        yield export(train(folder / "tell.toml", out=folder / "run", device="cpu"), folder / "weights")


@pytest.fixture
def job(watching, tmp_path):
    """What `refilm watch` would do, in segments of eight frames."""
    work = Work(TASKS["watching"], "tell", str(watching), TASKS["watching"].options())
    return Job(
        source=write_levels(tmp_path / "film.mkv", [level for scene in SCENES for level in scene]),
        sink=EventFile(tmp_path / "events.jsonl"),
        make_stage=TaskStages((work,), "cpu"),
        settings={"watch": work.settings},
        segment_frames=8,
    )


def test_a_task_of_ones_own_gives_events_in_order_and_once_whatever_the_segments(job):
    report = job.run()
    lines = [json.loads(line) for line in job.sink.path.read_text().splitlines()]
    assert [(Fraction(line["time"]), line["label"]) for line in lines] == beginnings()
    assert (report.frames_in, report.events, report.frames_out) == (sum(map(len, SCENES)), len(lines), 0)
    whole = replace(job, sink=EventFile(job.sink.path.with_stem("whole")), segment_frames=1000)
    whole.run()
    assert whole.sink.path.read_bytes() == job.sink.path.read_bytes()


def test_a_job_of_such_a_task_goes_on_where_it_was_killed(job):
    def kill(progress):
        if progress.frames > 20:
            raise KeyboardInterrupt

    undisturbed = replace(job, sink=EventFile(job.sink.path.with_stem("undisturbed")))
    undisturbed.run()
    with pytest.raises(KeyboardInterrupt):
        job.run(on_progress=kill)
    assert not job.sink.path.exists()
    seen = []
    job.run(on_progress=seen.append)
    assert seen[0].resumed_from >= 16
    assert job.sink.path.read_bytes() == undisturbed.sink.path.read_bytes()


def test_pieces_of_such_a_job_may_be_made_in_any_order(job):
    undisturbed = replace(job, sink=EventFile(job.sink.path.with_stem("undisturbed")))
    undisturbed.run()
    pieces = [make_piece(spec) for spec in reversed(job.plan())]
    assert len(pieces) == -(-sum(map(len, SCENES)) // 8)
    job.run()
    assert job.sink.path.read_bytes() == undisturbed.sink.path.read_bytes()


def test_a_training_of_such_a_task_validates_by_its_own_figure(watching, tmp_path, capsys):
    from refilm.training import export, train

    recipe, settings = watching.parents[1] / "tell.toml", ['val="clips"']
    checkpoint = train(recipe, out=tmp_path / "run", device="cpu", settings=settings)
    assert "step 2: val 1.000 of the windows, over chance +0.500 on the mean" in capsys.readouterr().out
    assert load_weights(export(checkpoint, tmp_path)).metrics["accuracy"] == [1.0] * 4
    assert load_weights(watching).metrics == {}, "its recipe names no validation set"
