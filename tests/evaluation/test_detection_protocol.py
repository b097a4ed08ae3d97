"""Detectors are measured on every frame of annotated films, as jobs run them."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from toys import glow
from toys.glow import write_lamps

from refilm.data.annotated import AnnotatedFilm
from refilm.data.layouts import Footage
from refilm.errors import RefilmError, UsageError
from refilm.evaluation import evaluate
from refilm.evaluation.detection import Detection, counted, motion_overlap, of_speed
from refilm.models import MODELS


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setitem(MODELS, "glow", glow.ROW)


@pytest.fixture
def lamps(tmp_path):
    """Two films: in one the lamp is where it is said to be, in the other somewhere else."""
    folder = tmp_path / "lamps"
    folder.mkdir()
    index = {}
    for name, shift in (("right", 0), ("wrong", 40)):
        lefts = [10 + n for n in range(12)]
        write_lamps(folder / f"{name}.mp4", lefts)
        boxes = [[left + shift, 20, left + shift + 24, 44] for left in lefts]
        index[name] = {"split": "val", "frames": 12, "objects": [{"class": "lamp", "boxes": boxes}]}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def test_figures_are_those_of_all_films_together(lamps, tmp_path):
    notes = []
    result = evaluate("glow", lamps, results_dir=tmp_path / "results", note=notes.append, pictures=tmp_path / "sheets")
    assert {name: clip.map50 for name, clip in result.clips.items()} == {"right": 100.0, "wrong": 0.0}
    assert {clip.frames for clip in result.clips.values()} == {clip.objects for clip in result.clips.values()} == {12}
    assert result.overall["map50"] == pytest.approx(50), "of 24 objects, 12 are found"
    assert result.overall["ap50_lamp"] == result.overall["map50"]
    assert result.overall["map50"] >= result.overall["map"] > 0
    assert "map50_slow" not in result.overall, "there are none"
    assert "map50_medium" in result.overall
    assert result.ms_per_frame > 0
    assert notes == ["glow  right  100.0 %", "glow  wrong  0.0 %"]
    written = json.loads((tmp_path / "results" / "lamps" / "glow.json").read_text())
    assert written["protocols"]["detection-frames"]["mean"]["map50"] == pytest.approx(result.overall["map50"], abs=1e-3)
    table = (tmp_path / "results" / "lamps" / "detection.md").read_text()
    assert "| model | mAP50, % | mAP, % | slow | medium | fast | lamp |" in table
    assert "| right | 100.0 |" in table
    assert cv2.imread(str(tmp_path / "sheets" / "detection-frames" / "glow.png")).shape[1] == 3 * 480


def test_some_frames_may_be_measured_and_the_protocol_says_so(lamps, tmp_path):
    result = evaluate("glow", lamps, results_dir=tmp_path / "results", every=5)
    assert result.protocol == "detection-frames-every-5"
    assert {clip.frames for clip in result.clips.values()} == {3}
    with pytest.raises(UsageError, match="every must be at least 1"):
        Detection().thinned(0)


def test_other_folders_are_told(tmp_path):
    with pytest.raises(RefilmError, match="no films with annotations here"):
        evaluate("glow", tmp_path)


def film(steps, visible=None):
    boxes = np.zeros((21, len(steps), 4), np.float32)
    for column, step in enumerate(steps):
        for place in range(21):
            boxes[place, column] = 10 + step * place, 10, 50 + step * place, 50
    seen = np.ones((21, len(steps)), np.float32) if visible is None else visible
    return AnnotatedFilm(Footage("x", ()), ("lamp",) * len(steps), boxes, seen)


def test_speed_is_told_by_how_an_object_overlaps_itself():
    overlap = motion_overlap(film([0, 1.0, 8.0]).boxes)
    assert (overlap[:, 0] == 1).all()
    # the mean over +-10 frames of (40 - d) / (40 + d)
    expected = np.mean([(40 - d) / (40 + d) for d in range(1, 11)])
    assert overlap[10, 1] == pytest.approx(expected, abs=1e-6)
    assert overlap[10, 2] < 0.3
    once = np.zeros((3, 1, 4), np.float32)
    once[1, 0] = 0, 0, 5, 5
    assert np.isnan(motion_overlap(once)[0, 0])
    assert motion_overlap(once)[1, 0] == 1, "nothing says that it moves"


def test_objects_of_other_speeds_do_not_count(lamps):
    from refilm.evaluation.average_precision import Frame

    known = film([0, 8.0])
    frames = [
        Frame(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), boxes, np.zeros(2, int), np.ones(2, bool))
        for boxes in known.boxes
    ]
    assert [part.counts.tolist() for part in of_speed(frames, known, 1, "fast")] == [[False, True]] * 21
    assert [part.counts.tolist() for part in of_speed(frames[::5], known, 5, "slow")] == [[True, False]] * 5


def test_hidden_and_tiny_objects_do_not_count():
    known = film([0, 0], np.stack([np.full(21, 0.2), np.full(21, 0.3)], axis=1))
    assert counted(known).tolist() == [[False, True]] * 21
    known.boxes[:, 1, 2] = known.boxes[:, 1, 0] + 5
    assert not counted(known).any()
