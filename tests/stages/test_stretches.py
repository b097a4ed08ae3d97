"""Scores of stretches become events."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from refilm.stages.timeline import Event, Joining, Label, Stretch, condensed, event_of

LABELS = ("run", "sit", "wave")


def stretch(start, end, *scores, closes=True, picture=b""):
    return Stretch(Fraction(start), Fraction(end), closes, scores, picture)


def test_an_event_names_the_likeliest_labels_first_and_counts_from_zero():
    event = event_of(stretch(3, 5, 0.2, 0.1, 0.7), LABELS, 2, zero=Fraction(3))
    assert event == Event(Fraction(0), Fraction(2), (Label("wave", 0.7), Label("run", 0.2)))
    assert event.label == "wave"
    assert event.as_json() == {
        "start": 0.0,
        "end": 2.0,
        "labels": [{"label": "wave", "score": 0.7}, {"label": "run", "score": 0.2}],
    }


def test_more_labels_than_there_are_cannot_be_told():
    assert len(event_of(stretch(0, 1, 0.2, 0.1, 0.7), LABELS, 10).labels) == 3


def test_scores_of_an_event_are_means_over_time():
    parts = [
        stretch(0, 1, 1.0, 0.0, 0.0, closes=False, picture=b"a"),
        stretch(1, 4, 0.0, 1.0, 0.0, picture=b"b"),
        stretch(4, 5, 0.0, 0.0, 1.0),
    ]
    whole, last = Joining().over(parts)
    assert whole == stretch(0, 4, 0.25, 0.75, 0.0, picture=b"b"), "the picture is that of the longest part"
    assert last == parts[-1]


def test_events_are_given_as_soon_as_they_are_complete():
    joining = Joining()
    assert list(joining.push(stretch(0, 1, 1.0, 0.0, 0.0, closes=False))) == []
    assert [whole.end for whole in joining.push(stretch(1, 2, 0.0, 1.0, 0.0))] == [2]
    assert list(joining.push(stretch(2, 3, 0.0, 1.0, 0.0, closes=False))) == []
    assert [whole.end for whole in joining.flush()] == [3]
    assert list(joining.flush()) == []


def test_neighbours_of_the_same_label_are_one_for_people():
    parts = [stretch(n, n + 1, 0.6, 0.4, 0.0) for n in range(3)] + [stretch(3, 4, 0.1, 0.9, 0.0)]
    assert [(whole.time, whole.end) for whole in Joining(alike=True).over(parts)] == [(0, 3), (3, 4)]


@pytest.mark.parametrize(("count", "most", "each"), [(7, 3, [3, 3, 1]), (6, 3, [2, 2, 2]), (2, 3, [1, 1])])
def test_a_long_film_is_condensed(count, most, each):
    parts = [stretch(n, n + 1, 1.0, 0.0, 0.0) for n in range(count)]
    assert [whole.end - whole.time for whole in condensed(parts, count, most)] == each


def test_a_stretch_is_the_same_after_it_was_written():
    for picture in (b"", b"\xff\xd8"):
        one = stretch(Fraction(1001, 30000), Fraction(2, 3), 0.123456, 0.8, 0.1, closes=False, picture=picture)
        assert Stretch.from_json(json.loads(json.dumps(one.as_json()))) == one
