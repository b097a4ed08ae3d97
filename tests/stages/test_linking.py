from __future__ import annotations

from fractions import Fraction

import numpy as np

from refilm.stages.detections import Box, Unlinked
from refilm.stages.linking import MOST_MISSING, Linking


def square(x, y, side=20.0):
    return (x, y, x + side, y + side)


def test_an_object_keeps_its_number_as_it_moves():
    linking = Linking()
    numbers = [linking.push([(square(10 + 6 * n, 40 + 2 * n), "person", 0.9)]) for n in range(20)]
    assert numbers == [[1]] * 20


def test_speed_is_learned_so_that_a_fast_object_is_not_lost():
    linking, places = Linking(), [0, 6, 13, 22, 33, 46, 60, 74, 88, 102, 116]
    assert [linking.push([(square(x, 10), "person", 0.9)]) for x in places] == [[1]] * len(places)
    # and is expected where it would be after frames without it
    for _ in range(3):
        assert linking.push([]) == []
    assert linking.push([(square(116 + 4 * 14, 10), "person", 0.9)]) == [1]


def test_objects_that_cross_keep_their_numbers():
    linking = Linking()
    for n in range(21):
        found = [(square(8 * n, 20), "animal", 0.9), (square(160 - 8 * n, 26), "animal", 0.8)]
        order = [1, 0] if n % 2 else [0, 1]
        numbers = linking.push([found[place] for place in order])
        assert [numbers[order.index(place)] for place in (0, 1)] == [1, 2], n


def test_classes_are_not_linked_to_each_other():
    linking = Linking()
    assert linking.push([(square(0, 0), "person", 0.9)]) == [1]
    assert linking.push([(square(0, 0), "vehicle", 0.9)]) == [2]
    assert linking.push([(square(0, 0), "person", 0.9), (square(0, 0), "vehicle", 0.9)]) == [1, 2]


def test_what_was_missing_for_long_is_another_object():
    for missing, number in ((MOST_MISSING, 1), (MOST_MISSING + 1, 2)):
        linking = Linking()
        linking.push([(square(0, 0), "person", 0.9)])
        for _ in range(missing):
            linking.push([])
        assert linking.push([(square(0, 0), "person", 0.9)]) == [number]


def test_objects_end_with_a_scene():
    linking = Linking()
    frames = [Unlinked(Fraction(n, 25), n == 2, (Box(square(0, 0), "person", 0.9, 0),)) for n in range(4)]
    found = list(linking.over(frames, Fraction(1, 25)))
    assert [each.boxes[0].track for each in found] == [1, 1, 2, 2]
    assert [each.frame for each in found] == [0, 1, 2, 3]
    assert [each.time for each in found] == [Fraction(n - 1, 25) for n in range(4)]


def test_boxes_without_extent_do_no_harm():
    linking = Linking()
    for _ in range(5):
        numbers = linking.push([((5.0, 5.0, 5.0, 5.0), "person", 0.5), (square(30, 30), "person", 0.5)])
    assert len(set(numbers)) == 2
    assert np.isfinite(numbers).all()
