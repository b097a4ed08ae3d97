"""What is promised of --max-memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from media import CLIPS, even, packet_hashes, write

import refilm
from refilm.jobs.budget import Plan, amount, choices, free_memory, make_plan
from refilm.models import MODELS, create_model
from refilm.stages import steps
from refilm.stages.demand import Demand, Measured, measured
from refilm.stages.interpolate import Interpolate
from refilm.stages.restore import Restore
from refilm.stages.stage import StreamShape
from refilm.tasks import TASKS

CPU = torch.device("cpu")
TILEABLE = Demand(
    "denoise", held=1e6, around=2e6, whole=1e6, at_once=Measured(((1, 1000),)), width=1920, height=1080, reach=20
)
WHOLE = Demand(
    "interpolate", held=1e6, at_once=Measured(((1, 400),)), width=1920, height=1080, reach=None, task="interpolation"
)


@pytest.mark.parametrize(
    ("text", "number"), [("4GB", 4e9), ("800 MB", 8e8), ("1.5GiB", 1.5 * 2**30), ("12kb", 12e3), (5e8, 5e8), ("7", 7)]
)
def test_amounts_are_read_as_people_write_them(text, number):
    assert amount(text) == number


@pytest.mark.parametrize("text", ["lots", "4 apples", "0GB", "-1GB", ""])
def test_other_amounts_are_refused(text):
    with pytest.raises(ValueError, match="wanted an amount of memory such as 4GB or 800MB, got"):
        amount(text)


def test_the_largest_tile_under_the_budget_is_taken_and_then_shorter_queues():
    def around(queue):
        return 1e8 * queue

    tiles = choices([TILEABLE], None)
    assert tiles == (None, 1024, 768, 512, 384, 256, 192, 128, 96, 64)
    previous = float("inf")
    for budget in (4e9, 2.5e9, 1.5e9, 1.1e9, 9e8, 3e8):
        plan = make_plan([TILEABLE], tiles, budget, around)
        needed = around(plan.queue) + TILEABLE.held + TILEABLE.working(plan.tile)
        assert needed <= budget
        assert (plan.tile or 10**6) <= previous or plan.queue == 2
        previous = plan.tile or 10**6
    needed = around(8) + TILEABLE.held + TILEABLE.working(None)
    assert make_plan([TILEABLE], tiles, 4e9, around) == Plan(None, 8, needed)
    assert make_plan([TILEABLE], tiles, 3e8, around).queue == 2


def test_stages_hold_together_and_work_in_turn():
    two = [TILEABLE, replace(TILEABLE, at_once=Measured(((1, 2000),)))]
    needed = 2e6 + two[1].working(64)
    assert make_plan(two, (64,), needed, lambda _: 0) == Plan(64, 8, needed)
    with pytest.raises(refilm.JobError):
        make_plan(two, (64,), 2e6 + two[1].working(64) - 1, lambda _: 0)


def test_a_budget_that_cannot_be_met_is_told_with_the_ways_out():
    with pytest.raises(refilm.JobError, match=r"may take 0\.50 GB: .*sees the whole picture of 1920x1080.*vi-ls3d"):
        make_plan([WHOLE], choices([WHOLE], None), 5e8, lambda _: 1e6)
    with pytest.raises(refilm.JobError, match=r"everything else 3\.00 GB.*--max-memory 3\.1GB; or a faster --preset"):
        make_plan([TILEABLE], choices([TILEABLE], None), 5e8, lambda _: 3e9)
    with pytest.raises(refilm.JobError, match=r"--restart, if these are the tiles \(1024\) of an unfinished job"):
        make_plan([TILEABLE], (1024,), 5e8, lambda _: 1e6)


def test_a_tile_that_is_asked_for_is_taken():
    assert choices([TILEABLE], 333) == (333,)
    assert choices([WHOLE], None) == (None,)


SIDES = [(96, 96), (192, 192)]


def sizes_of(width, height):
    return width, height


def test_what_a_model_takes_is_measured():
    def run(width, height):
        return torch.ones(height * width * 250) + 1  # two tensors of 1000 bytes a pixel at a time

    assert measured(sizes_of, run, SIDES, CPU).at(1920 * 1080) == pytest.approx(2000 * 1920 * 1080, rel=0.2)


def test_a_fixed_part_is_not_taken_for_one_of_each_pixel():
    def run(width, height):
        buffer = torch.ones(10**7)  # 40 MB
        return torch.ones(height * width * 250) + buffer[0]

    found = measured(sizes_of, run, SIDES, CPU)
    assert found.at(1920 * 1080) == pytest.approx(4e7 + 2000 * 1920 * 1080, rel=0.2)


def test_what_a_step_is_given_is_not_counted():
    def given(width, height):
        return (torch.ones(height * width * 2500),)

    assert measured(given, lambda large: large[: len(large) // 10] + 1, SIDES, CPU).at(1e6) < 2000 * 1e6


def test_measurements_are_joined_by_lines():
    found = Measured(((100.0, 1000.0), (200.0, 1500.0), (400.0, 1700.0)))
    assert [found.at(pixels) for pixels in (0, 150, 200, 300, 400, 800)] == [500, 1250, 1500, 1600, 1700, 2100]
    # never faster than the pixels beyond the largest, and a fall is no measurement
    assert Measured(((100.0, 100.0), (200.0, 500.0))).at(400) == 1000
    assert Measured(((100.0, 600.0), (200.0, 500.0))).at(400) == 1000


def test_stages_name_their_demands_for_the_pictures_they_are_fed():
    shape = StreamShape(1920, 1080, Fraction(25), Fraction(1, 25), Fraction(0))
    (flow,) = Interpolate(create_model("flow-blend"), times=4).demands(shape)
    assert flow.reach is None
    assert flow.working(None) > 100 * 1920 * 1080
    small = create_model("dncnn-off3-small", weights=None).eval()
    (denoise,) = Restore("denoise", small).demands(shape)
    assert (denoise.name, denoise.reach, denoise.width) == ("denoise", small.reach, 1920)
    assert denoise.working(64) < denoise.working(512) < denoise.working(None)


SHIPS = [name for name, row in MODELS.items() if row.runs_as_shipped]


@pytest.mark.parametrize("name", [name for name in SHIPS if TASKS[MODELS[name].task].makes == "pictures"])
def test_what_ships_is_planned_from_the_record(name, monkeypatch):
    monkeypatch.setattr(steps, "measured", lambda *_: pytest.fail("it is measured before each job"))
    shape = StreamShape(1920, 1080, Fraction(25), Fraction(1, 25), Fraction(0))
    model = create_model(name)
    rates = (2, 3, 4) if getattr(model, "instants", None) is None else (1, 2)
    stages = [Interpolate(model, times=n) for n in rates] if model.window % 2 == 0 else [Restore("it", model)]
    for stage in stages:
        (demand,) = stage.demands(shape)
        assert demand.working(64 if model.reach else None) > 30 * 1920 * 1080


def test_free_memory_is_no_more_than_this_machine_has():
    assert 1e8 < free_memory(CPU) < 1e13


@pytest.fixture
def hungry(restorers, monkeypatch):
    """`soften` takes 6.1 MB for the whole of a 96x64 picture and 4.4 MB for a tile of 64, the rest of a job nothing."""
    demand = Demand("denoise", held=0, at_once=Measured(((1, 1000),)), width=96, height=64, reach=2)
    monkeypatch.setattr(Restore, "demands", lambda self, source: [demand])
    monkeypatch.setattr("refilm.jobs.budget.around_stages", lambda *_: lambda queue: 0)


def test_an_unfinished_job_goes_on_with_its_tiles_whatever_memory_there_is_now(hungry, tmp_path):
    source = write(tmp_path / "film.mp4", replace(CLIPS["b-frames"], times=even(150, 24))).path
    refilm.denoise(source, tmp_path / "tiled.mp4", max_memory="6MB")
    output, record = tmp_path / "out.mp4", tmp_path / "out.mp4.refilm" / "job.json"

    def stop(progress):
        if progress.frames > 70 and progress.resumed_from == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refilm.denoise(source, output, max_memory="6MB", on_progress=stop)
    assert json.loads(record.read_text())["tile"] == 64
    with pytest.raises(refilm.JobError, match=r"--restart, if these are the tiles \(64\)"):
        refilm.denoise(source, output, max_memory="1MB")
    seen = []
    refilm.denoise(source, output, on_progress=seen.append)
    assert seen[0].resumed_from == 64
    assert packet_hashes(output, "v:0") == packet_hashes(tmp_path / "tiled.mp4", "v:0")


def test_a_budget_that_cannot_be_met_leaves_nothing_behind(media, tmp_path):
    with pytest.raises(refilm.JobError, match=r"this job needs .* GB of memory and may take 0\.05 GB"):
        refilm.interpolate(media("cfr-24").path, tmp_path / "out.mp4", model="flow-blend", max_memory="50MB")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["1.5GB", "2.5GB"])
def test_the_peak_stays_under_the_budget(tmp_path, budget):
    source = write(tmp_path / "large.mp4", replace(CLIPS["cfr-24"], times=even(3, 24), width=1920, height=1080)).path
    output = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "refilm.cli.main", "interpolate", str(source), str(output)]
    subprocess.run([*command, "--model", "vi-ls3d-small", "--max-memory", budget], check=True, capture_output=True)
    peak = json.loads((tmp_path / "out.mp4.json").read_text())["peak_memory_mb"] * 1e6
    assert 0.4 * amount(budget) < peak < amount(budget)
