"""The objects of a film, told to a program, into files of each kind, and drawn; stopped jobs go on where they were."""

from __future__ import annotations

import csv
import json
import re
import threading
from fractions import Fraction
from itertools import islice, pairwise

import cv2
import numpy as np
import pytest
from media import packet_hashes
from toys import glow
from toys.glow import write_lamps

import refilm
from refilm.errors import UsageError, VideoError
from refilm.jobs.detections import detection_sink
from refilm.jobs.job import Job
from refilm.jobs.pieces import make_piece
from refilm.models import MODELS
from refilm.options import Detect, Running
from refilm.stages.detect import Detect as DetectStage
from refilm.stages.draw import colour_of, rows_from
from refilm.stages.stage import StreamShape
from refilm.stages.table import TaskStages, Work
from refilm.tasks import TASKS

SECOND = Fraction(1)
GLOW = {"model": "glow"}
# It is not there at first, goes right, and is gone for some frames.
LEFTS = [None] * 4 + [8 + 2 * n for n in range(30)] + [None] * 10 + [8] * 10


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setitem(MODELS, "glow", glow.ROW)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_lamps(tmp_path_factory.mktemp("films") / "film.mkv", LEFTS)


def test_each_frame_has_its_objects_with_its_exact_time_and_no_file_is_written(film):
    found = list(refilm.detect(film, **GLOW))
    assert [each.frame for each in found] == list(range(len(LEFTS)))
    assert [each.time for each in found] == [Fraction(n, 25) for n in range(len(LEFTS))]
    assert [len(each.boxes) for each in found] == [left is not None for left in LEFTS]
    for each, left in zip(found, LEFTS, strict=True):
        for box in each.boxes:
            np.testing.assert_allclose(box.box, (left, 20, left + 24, 44), atol=2.1)  # seen at half the size
            assert box.label == "lamp"
    # three frames are seen: at the ends of a stretch with a lamp, one is without
    assert [found[place].boxes[0].score for place in (4, 5, 33)] == [0.75, 1.0, 0.75]
    assert [path.name for path in film.parent.iterdir()] == ["film.mkv"]


def test_an_object_has_one_number_until_it_is_gone(film):
    tracks = [box.track for found in refilm.detect(film, **GLOW) for box in found.boxes]
    assert tracks == [1] * 30 + [2] * 10


def test_sure_objects_alone_are_told_if_they_are_asked_for(film):
    found = list(refilm.detect(film, 0.9, **GLOW))
    assert [each.frame for each in found if each.boxes] == [*range(5, 33), *range(45, 54)]


def test_a_part_of_a_film_has_the_times_of_the_film(film):
    found = list(refilm.detect(film, from_time="0.4", to_time="0.6", **GLOW))
    assert [(each.frame, each.time) for each in found] == [(n, Fraction(10 + n, 25)) for n in range(5)]


def test_a_generator_that_is_closed_ends_the_work(film):
    before = threading.active_count()
    found = refilm.detect(film, **GLOW)
    assert len(list(islice(found, 2))) == 2
    found.close()
    assert threading.active_count() == before


def test_a_stream_gives_what_a_job_gives(film):
    expected = list(refilm.detect(film, **GLOW))
    assert list(refilm.stream.detect(refilm.open(film), **GLOW)) == expected
    pictures = [frame.rgb.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy() for frame in refilm.open(film)]
    assert list(refilm.stream.detect(pictures, input_fps=25, **GLOW)) == expected


def test_boxes_of_a_rotated_film_lie_on_its_stored_pictures(tmp_path, monkeypatch):
    source = write_lamps(tmp_path / "film.mkv", [8] * 3)
    (plain, *_) = refilm.detect(source, **GLOW)
    shown = []
    see = glow.Glow.see
    monkeypatch.setattr(glow.Glow, "see", lambda self, frames: shown.append(frames) or see(self, frames))
    for turns in (1, 2, 3):
        stage = DetectStage(glow.Glow(), StreamShape(128, 96, SECOND, SECOND, 0 * SECOND, rotation=90 * turns))
        frames = list(refilm.open(source))
        (found, *_) = [*(item for frame in frames for item in stage.push(frame)), *stage.flush()]
        np.testing.assert_allclose(found.boxes[0].box, plain.boxes[0].box, atol=2.1)
        assert shown[-1].shape[2:] == ((48, 64) if turns == 2 else (64, 48))


def test_a_table_has_a_row_for_each_object(film, tmp_path):
    report = refilm.detections(film, tmp_path / "out.csv", **GLOW)
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    expected = [
        (found.frame, float(found.time), box.track, box.label, box.score, *box.box)
        for found in refilm.detect(film, **GLOW)
        for box in found.boxes
    ]
    kinds = int, float, int, str, float, float, float, float, float
    assert [tuple(k(v) for k, v in zip(kinds, row.values(), strict=True)) for row in rows] == expected
    assert (report.frames_in, report.events, report.makes_events) == (len(LEFTS), len(LEFTS), True)
    assert (report.settings["detect"]["model"], report.settings["detect"]["min_score"]) == ("glow", 0.3)


def test_lines_of_json_are_the_frames(film, tmp_path):
    refilm.detections(film, tmp_path / "out.jsonl", **GLOW)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = [found.as_json() | {"at": str(found.time)} for found in refilm.detect(film, **GLOW)]
    assert lines == expected


def test_motchallenges_text_counts_frames_from_one(film, tmp_path):
    refilm.detections(film, tmp_path / "out.txt", **GLOW)
    first = (tmp_path / "out.txt").read_text().splitlines()[0].split(",")
    (box,) = list(refilm.detect(film, **GLOW))[4].boxes
    left, top, right, bottom = box.box
    assert [float(part) for part in first] == [5, 1, left, top, right - left, bottom - top, 0.75, -1, -1, -1]


def test_drawing_changes_the_boxes_alone_and_keeps_times_and_sound(media, film, tmp_path):
    refilm.detections(film, tmp_path / "out.mkv", codec="ffv1", **GLOW)
    before, after = list(refilm.open(film)), list(refilm.open(tmp_path / "out.mkv"))
    assert [frame.time for frame in after] == [frame.time for frame in before]
    for number in (0, 3, 36):  # without a lamp
        assert all((a == b).all() for a, b in zip(before[number].planes, after[number].planes, strict=True))
    changed = np.abs(after[20].rgb.numpy() - before[20].rgb.numpy()).max(axis=0) > 0.1
    (box,) = list(refilm.detect(film, **GLOW))[20].boxes
    left, top, right, bottom = (round(side) for side in box.box)
    assert changed[top, left : right - 1].all()
    assert changed[bottom - 1, left : right - 1].all()
    assert not changed[top + 3 : bottom - 3, left + 3 : right - 3].any()
    assert not changed[bottom + 2 :].any()
    assert (tmp_path / "out.mkv.jsonl").exists()
    sounding = media("companions-mkv").path
    refilm.detections(sounding, tmp_path / "sound.mkv", drop_streams=True, **GLOW)
    assert packet_hashes(tmp_path / "sound.mkv", "a:0") == packet_hashes(sounding, "a:0")


def test_frames_are_found_in_a_file_of_boxes_by_their_time(film, tmp_path):
    refilm.detections(film, tmp_path / "out.jsonl", **GLOW)
    for number in (0, 1, 17, len(LEFTS) - 1):
        rows = rows_from(tmp_path / "out.jsonl", Fraction(number, 25))
        times = [time for time, _ in rows]
        assert Fraction(number, 25) in times[:2]
    assert list(rows_from(tmp_path / "out.jsonl", Fraction(1000)))[1:] == []
    (tmp_path / "empty.jsonl").touch()
    assert list(rows_from(tmp_path / "empty.jsonl", Fraction(1))) == []


def test_neighbouring_tracks_have_other_colours():
    colours = [np.array(colour_of(track)) for track in range(1, 12)]
    assert all(np.abs(a - b).max() > 60 for a, b in pairwise(colours))


def job(film, path, segment_frames=16):
    work = Work(TASKS["detection"], "glow", "default", Detect())
    return Job(
        source=film,
        sink=detection_sink(path),
        make_stage=TaskStages((work,), "cpu"),
        settings={"detect": work.settings},
        running=Running(threads=1),
        segment_frames=segment_frames,
    )


def test_a_job_goes_on_where_it_was_killed_and_gives_the_same_bytes(film, tmp_path):
    def kill(progress):
        if progress.frames > 30:
            raise KeyboardInterrupt

    undisturbed, disturbed = job(film, tmp_path / "whole.csv"), job(film, tmp_path / "out.csv")
    undisturbed.run()
    with pytest.raises(KeyboardInterrupt):
        disturbed.run(on_progress=kill)
    assert not disturbed.sink.path.exists()
    seen = []
    disturbed.run(on_progress=seen.append)
    assert seen[0].resumed_from >= 16
    assert disturbed.sink.path.read_bytes() == undisturbed.sink.path.read_bytes()


def test_results_do_not_depend_on_the_segments_nor_on_who_made_them(film, tmp_path):
    expected = [found.as_json() | {"at": str(found.time)} for found in refilm.detect(film, **GLOW)]
    for frames in (16, 23, 200):
        path = tmp_path / f"{frames}.jsonl"
        job(film, path, frames).run()
        assert [json.loads(line) for line in path.read_text().splitlines()] == expected
    elsewhere = job(film, tmp_path / "elsewhere.jsonl")
    for spec in reversed(elsewhere.plan()):
        make_piece(spec)
    elsewhere.run()
    assert elsewhere.sink.path.read_bytes() == path.read_bytes()


def test_drawing_goes_on_after_a_stop_without_finding_the_boxes_again(film, tmp_path, monkeypatch):
    def kill(progress):
        if (tmp_path / "out.mkv.jsonl").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refilm.detections(film, tmp_path / "out.mkv", on_progress=kill, **GLOW)
    seen, warned = [], []
    monkeypatch.setattr(glow.Glow, "see", lambda self, frames: seen.append(frames))
    refilm.detections(film, tmp_path / "out.mkv", warn=warned.append, **GLOW)
    assert seen == []
    assert warned == []
    with pytest.raises(refilm.JobError, match="exists"):
        refilm.detections(film, tmp_path / "out.mkv", **GLOW)
    monkeypatch.undo()
    monkeypatch.setitem(MODELS, "glow", glow.ROW)
    refilm.detections(film, tmp_path / "out.mkv", min_score=0.9, overwrite=True, **GLOW)
    lines = (tmp_path / "out.mkv.jsonl").read_text().splitlines()
    assert sum(bool(json.loads(line)["boxes"]) for line in lines) == 37


def test_a_picture_and_a_film_of_one_frame_have_objects(media, tmp_path):
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[10:30, 20:50] = 255
    cv2.imwrite(str(tmp_path / "lamp.png"), picture)
    (found,) = refilm.detect(tmp_path / "lamp.png", **GLOW)
    np.testing.assert_allclose(found.boxes[0].box, (20, 10, 50, 30), atol=2)
    assert len(list(refilm.detect(media("one-frame").path, **GLOW))) == 1


def test_interlaced_film_is_looked_at_as_it_is(media):
    assert list(refilm.detect(media("interlaced").path, **GLOW))


def test_bad_input_is_told_in_one_line(media, broken, film, tmp_path):
    for message, kind, call in (
        ("no such file", VideoError, lambda: list(refilm.detect(tmp_path / "missing.mp4", **GLOW))),
        ("no video stream", VideoError, lambda: list(refilm.detect(broken("audio-only"), **GLOW))),
        ("flow-blend is a model for interpolation", UsageError, lambda: refilm.detect(film, model="flow-blend")),
        ("above 0 and at most 1, got 2", UsageError, lambda: refilm.detect(film, 2, **GLOW)),
        ("--preview", UsageError, lambda: refilm.detect(film, preview=5, **GLOW)),
        ("overwrite are about a file", UsageError, lambda: refilm.detect(film, overwrite=True, **GLOW)),
        ("cannot tell what to write", UsageError, lambda: refilm.detections(film, tmp_path / "out.doc", **GLOW)),
        ("form is one of jsonl", UsageError, lambda: refilm.detections(film, tmp_path / "a", form="doc", **GLOW)),
        ("about a film that boxes", UsageError, lambda: refilm.detections(film, tmp_path / "a.csv", crf=3, **GLOW)),
        ("needs the whole picture", UsageError, lambda: list(refilm.detect(film, tile=64, **GLOW))),
        ("read only once", UsageError, lambda: refilm.detections("-", tmp_path / "a.mkv", **GLOW)),
    ):
        with pytest.raises(kind, match=re.escape(message)) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match="did you mean 'min_score'"):
        refilm.detect(film, min_scor=0.3, **GLOW)
