"""Pieces are made from records: in any process, in any order."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import pytest
from frames import stream
from media import CLIPS, even, packet_hashes, write

import refilm
from refilm.jobs.job import Job
from refilm.jobs.pieces import make_piece
from refilm.jobs.segments import survey
from refilm.jobs.video_file import VideoFile
from refilm.jobs.work_folder import WorkFolder
from refilm.options import Encoding, Interpolate, Running
from refilm.stages.table import TaskStages, Work
from refilm.tasks import TASKS
from refilm.video import Bookmark, digest

CUTS = (24, 47, 73, 98)
WORKER = """
import pickle, sys
from refilm.jobs.pieces import make_piece
for spec in pickle.load(sys.stdin.buffer):
    make_piece(spec)
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Six segments of 24 frames, with B-frames, a key frame now and then, sound, and scene cuts about their borders."""
    clip = replace(CLIPS["b-frames"], times=even(140, 24), audio=("eng",), scenes=CUTS)
    return write(tmp_path_factory.mktemp("film") / "film.mp4", clip).path


def job_on(film, output):
    work = Work(TASKS["interpolation"], "flow-blend", None, Interpolate(times=2))
    settings = {"interpolate": work.settings}
    sink = VideoFile(output, Encoding(preset="ultrafast"))
    return Job(film, sink, TaskStages((work,), "cpu"), settings, running=Running(threads=1), segment_frames=24)


@pytest.fixture(scope="module")
def undisturbed(film, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
    return job_on(film, output).run(), packet_hashes(output, "v:0")


def worker(specs):
    """A process of its own that makes these pieces; it knows of the job what can be pickled."""
    process = subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE)
    with process.stdin as stdin:
        pickle.dump(specs, stdin)
    return process


def test_pieces_made_out_of_order_by_three_processes_one_of_them_killed_join_to_the_same_packets(
    film, undisturbed, tmp_path
):
    report, packets = undisturbed
    job = job_on(film, tmp_path / "out.mp4")
    specs = job.plan()
    assert [spec.index for spec in specs] == list(range(6))
    backwards = [worker([specs[5], specs[1]]), worker([specs[4], specs[0]])]
    killed = worker([specs[2]])
    folder = tmp_path / "out.mp4.refilm"
    while not list(folder.glob("000002.*.part")) and killed.poll() is None:
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() == -9
    assert [process.wait() for process in backwards] == [0, 0]
    assert sorted(WorkFolder(folder).finished()) == [0, 1, 4, 5], "neither the killed one nor the one nobody made"
    seen = []
    again = job.run(seen.append)
    assert {progress.resumed_from for progress in seen} == {24 + 24 + 24 + 20}
    assert packet_hashes(tmp_path / "out.mp4", "v:0") == packets
    assert packet_hashes(tmp_path / "out.mp4", "a:0") == packet_hashes(film, "a:0")
    assert (again.frames_in, again.frames_out, again.frames_new) == (140, 279, report.frames_new)
    assert again.frames_new == 140 - 1 - len(CUTS)
    assert again.colour_change == report.colour_change
    assert again.self_check == report.self_check
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.mp4.json"]


def test_a_plan_is_made_once_and_only_for_the_same_job(film, tmp_path):
    job = job_on(film, tmp_path / "out.mp4")
    specs = job.plan()
    make_piece(specs[3])
    assert job.plan() == specs
    assert list(WorkFolder(specs[0].folder).finished()) == [3]
    other = replace(job, settings={"interpolate": {"times": 3}})
    with pytest.raises(refilm.JobError, match="unfinished job with other settings"):
        other.plan()
    assert job.run().frames_out == 279


def test_reading_for_each_piece_begins_where_an_undisturbed_run_would_go_on(film, tmp_path):
    specs = job_on(film, tmp_path / "out.mp4").plan()
    made = [make_piece(spec) for spec in reversed(specs)][::-1]
    assert [piece.next_start for piece in made] == [*(spec.start for spec in specs[1:]), None]
    assert specs[0].start is None


@pytest.mark.parametrize("before", [0, 1, 4, 5, 9])
def test_a_survey_finds_the_context_of_every_segment(before):
    frames = stream(23)
    first = [max(0, segment * 5 - before) for segment in range(5)]
    expected = [Bookmark(n, Fraction(n, 25), digest(frames[n])) if n else None for n in first]
    assert survey(frames, 5, before) == expected
    assert survey(frames[:10], 5, before) == expected[:2]
