from __future__ import annotations

import numpy as np
import pytest

from refilm.evaluation.average_precision import THRESHOLDS, Frame, average_precision, mean_average_precision, overlaps


def frame(detections, objects, complete=True, counts=None):
    """detections: (box, score, label) each; objects: (box, label) each"""
    boxes = np.array([box for box, _, _ in detections], np.float32).reshape(-1, 4)
    truth = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    return Frame(
        boxes,
        np.array([score for _, score, _ in detections], np.float32),
        np.array([label for *_, label in detections], np.int64),
        truth,
        np.array([label for _, label in objects], np.int64),
        np.array([True] * len(objects) if counts is None else counts, bool),
        complete,
    )


HERE, THERE, ELSEWHERE = (0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 60, 60)


def test_all_found_and_nothing_else_is_100():
    assert average_precision([frame([(HERE, 0.9, 0), (THERE, 0.4, 0)], [(HERE, 0), (THERE, 0)])], 0) == 100


def test_the_area_below_the_curve_counted_by_hand():
    # right, wrong, right: precision 1 up to a recall of 1/2, then 2/3
    found = [(HERE, 0.9, 0), (ELSEWHERE, 0.8, 0), (THERE, 0.7, 0)]
    assert average_precision([frame(found, [(HERE, 0), (THERE, 0)])], 0) == pytest.approx(100 * (1 / 2 + 2 / 3 / 2))
    # one of three found
    assert average_precision([frame([(HERE, 0.9, 0)], [(HERE, 0), (THERE, 0), (ELSEWHERE, 0)])], 0) == pytest.approx(
        100 / 3
    )


def test_scores_are_compared_over_frames():
    wrong, right = frame([(ELSEWHERE, 0.9, 0)], [(HERE, 0)]), frame([(HERE, 0.5, 0)], [(HERE, 0)])
    assert average_precision([wrong, right], 0) == pytest.approx(25)


def test_a_second_detection_of_an_object_is_wrong():
    found = [(HERE, 0.9, 0), (HERE, 0.8, 0), (THERE, 0.7, 0)]
    assert average_precision([frame(found, [(HERE, 0), (THERE, 0)])], 0) == pytest.approx(100 * (1 / 2 + 2 / 3 / 2))


def test_another_class_is_wrong_and_overlaps_count_from_the_threshold():
    objects = [(HERE, 0), (THERE, 1)]
    assert average_precision([frame([(HERE, 0.9, 1)], objects)], 0) == 0
    shifted = [((0, 2, 10, 12), 0.9, 0)]  # overlap 80 / 120
    assert average_precision([frame(shifted, [(HERE, 0)])], 0, 0.65) == 100
    assert average_precision([frame(shifted, [(HERE, 0)])], 0, 0.7) == 0
    assert mean_average_precision([frame(shifted, [(HERE, 0)])], 1, THRESHOLDS) == pytest.approx(40)


def test_the_mean_is_over_classes_that_there_are():
    objects = [(HERE, 0), (THERE, 2)]
    assert average_precision([frame([], objects)], 1) is None
    assert mean_average_precision([frame([(HERE, 0.9, 0)], objects)], 3) == 50
    assert mean_average_precision([frame([(HERE, 0.9, 0)], [])], 3) is None


def test_an_object_that_does_not_count_is_neither_missed_nor_wrongly_found():
    objects, counts = [(HERE, 0), (THERE, 0)], [True, False]
    assert average_precision([frame([(HERE, 0.5, 0)], objects, counts=counts)], 0) == 100
    assert average_precision([frame([(THERE, 0.9, 0), (HERE, 0.5, 0)], objects, counts=counts)], 0) == 100
    # however often
    found = [(THERE, 0.9, 0), (THERE, 0.8, 0), (HERE, 0.5, 0)]
    assert average_precision([frame(found, objects, counts=counts)], 0) == 100


def test_where_not_all_objects_are_known_only_what_touches_one_can_be_wrong():
    beside = (5, 5, 15, 15)  # overlap 25 / 175
    for found, expected in (([(ELSEWHERE, 0.9, 0)], 100), ([(beside, 0.9, 0)], 50)):
        parts = [(HERE, 0.5, 0), *found]
        assert average_precision([frame(parts, [(HERE, 0)], complete=False)], 0) == pytest.approx(expected)
        assert average_precision([frame(parts, [(HERE, 0)])], 0) == pytest.approx(50)


def test_overlaps_of_nothing():
    assert overlaps(np.zeros((0, 4)), np.zeros((2, 4))).shape == (0, 2)
    assert overlaps(np.zeros((1, 4)), np.zeros((1, 4))).item() == 0
