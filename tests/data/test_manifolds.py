import math

import numpy as np
import pytest
import torch

from refilm.data import manifolds
from refilm.data.manifolds import (
    CURVE_HALF,
    ROLL,
    SETS,
    curve_at,
    distance_to_surface,
    object_at,
    roll_at,
    s_curve,
    slanted,
    swiss_roll,
    turning_objects,
)


@pytest.mark.parametrize(
    ("make", "at", "ends"), [(swiss_roll, roll_at, ROLL), (s_curve, curve_at, (-CURVE_HALF, CURVE_HALF))]
)
def test_places_unroll_a_surface_without_distortion(make, at, ends):
    samples = make(400, 0)
    near = torch.cdist(samples.places, samples.places)
    near[torch.eye(400, dtype=torch.bool)] = math.inf
    second = near.argmin(dim=1)
    chord = (samples.samples - samples.samples[second]).norm(dim=1)
    flat = (samples.places - samples.places[second]).norm(dim=1)
    torch.testing.assert_close(chord[flat < 0.1], flat[flat < 0.1], rtol=0.01, atol=0)
    along = at(np.linspace(*ends, 20001), np.zeros(20001))
    length = np.linalg.norm(np.diff(along, axis=0), axis=1).sum()
    spread = samples.places[:, 0].max() - samples.places[:, 0].min()
    assert 0.97 * length < spread < length


@pytest.mark.parametrize("name", ["swiss-roll", "s-curve"])
def test_the_distance_to_a_surface_is_zero_on_it(name):
    samples = SETS[name]("test").samples
    # half of the distance between two of the 4000 places that it looks at: the roll is 22 long
    assert distance_to_surface(samples, name).max() < 22.5 / 4000 / 2
    outside = samples[:1].clone()
    outside[0, 1] = 100
    assert distance_to_surface(outside, name)[0] == pytest.approx(100 - {"s-curve": 2.0}.get(name, 5.25), abs=0.01)


def test_turned_objects_move_at_constant_speed():
    for kind in range(len(manifolds.OBJECTS)):
        pictures = torch.stack([object_at(kind, float(angle)) for angle in range(0, 181, 3)])
        steps = pictures.flatten(1).diff(dim=0).norm(dim=1)
        assert steps.std() / steps.mean() < 0.06


def test_objects_turn_counter_clockwise_and_are_told_by_angle_and_kind():
    samples = turning_objects(20, 0)
    assert samples.samples.shape == (20, 3, 24, 24)
    assert 0 <= samples.samples.min() <= samples.samples.max() <= 1
    torch.testing.assert_close(samples.samples[3], object_at(int(samples.kinds[3]), float(samples.places[3])))
    arrow = manifolds.OBJECTS.index("arrow")
    turned = torch.rot90(object_at(arrow, 0.0), dims=(1, 2))
    assert (object_at(arrow, 90.0) - turned).abs().mean() < 0.03


def test_slanting_moves_the_upper_rows_to_the_right_and_the_lower_to_the_left():
    digit = torch.zeros(1, 1, 8, 8)
    digit[..., 3:5] = 1
    upright, leaning = slanted(digit.repeat(2, 1, 1, 1), torch.tensor([0.0, 0.5]))[:, 0]
    columns = torch.arange(16.0)

    def place(row):
        return float((row * columns).sum() / row.sum())

    assert place(upright[2]) == pytest.approx(7.5, abs=0.05)
    assert place(leaning[2]) - 7.5 == pytest.approx(7.5 - place(leaning[13]), abs=0.05)
    assert place(leaning[2]) - 7.5 == pytest.approx(0.5 * 5.5, abs=0.35)


def test_digits_have_two_parts_without_a_digit_in_common():
    pytest.importorskip("sklearn")
    train, test = manifolds.digits("train"), manifolds.digits("test")
    assert len(train) + len(test) == 1797
    assert train.samples.shape[1:] == (1, 8, 8)
    assert len(SETS["slant"]("train")) == 4 * len(train)


def test_who_has_no_digits_is_told_where_they_ship(monkeypatch):
    import sys

    from refilm.errors import RefilmError

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    manifolds._digits.cache_clear()
    with pytest.raises(RefilmError, match="pip install scikit-learn"):
        manifolds.digits("train")
