"""What jobs have found is read as their commands have written it."""

import json
from fractions import Fraction

import pytest

from refilm.jobs.detections import DetectionLines
from refilm.stages.detections import Box, Detections
from refilm.web import findings

FRAMES = 101


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """A file of frames at 25 a second, of which each third has a box."""
    path = tmp_path_factory.mktemp("boxes") / "film.jsonl"
    box = Box((1.0, 2.0, 3.0, 4.0), "person", 0.5, 1)
    found = (Detections(n, Fraction(n, 25), (box,) if n % 3 == 0 else ()) for n in range(FRAMES))
    path.write_text("".join(map(DetectionLines(path).lines, found)))
    return path


@pytest.mark.parametrize(
    ("begin", "end", "numbers"),
    [
        (0, 0.1, [0, 1, 2]),
        (1.99, 2.09, [50, 51, 52]),
        (2.0, 2.04, [50]),
        (3.97, 99, [100]),
        (-5, 0.01, [0]),
        (4.01, 9, []),
        (2, 1, []),
        (-1, 100, list(range(FRAMES))),
    ],
)
def test_boxes_of_a_stretch_of_time(boxes, begin, end, numbers):
    found = findings.boxes(boxes, begin, end)
    assert [frame["frame"] for frame in found] == numbers
    assert all(bool(frame["boxes"]) == (frame["frame"] % 3 == 0) for frame in found)


def test_every_beginning_is_found(boxes):
    for n in range(FRAMES):
        assert findings.boxes(boxes, n / 25, n / 25 + 0.01)[0] == json.loads(boxes.read_text().splitlines()[n])


def test_a_file_without_frames_has_no_boxes(tmp_path):
    (tmp_path / "none.jsonl").touch()
    assert findings.boxes(tmp_path / "none.jsonl", 0, 10) == []


def test_a_timeline_is_read_with_all_labels_of_each_event(tmp_path):
    path = tmp_path / "film.csv"
    path.write_text(
        'start,end,rank,label,score\n0.0,2.0,1,"pan, left",0.9\n0.0,2.0,2,static,0.1\n2.0,3.5,1,static,0.7\n'
    )
    assert findings.timeline(path) == [
        {"start": 0.0, "end": 2.0, "labels": [{"label": "pan, left", "score": 0.9}, {"label": "static", "score": 0.1}]},
        {"start": 2.0, "end": 3.5, "labels": [{"label": "static", "score": 0.7}]},
    ]
