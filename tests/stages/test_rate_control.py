import pytest

from refilm.stages.coded_pictures import RateControl


def run(control, groups, key=20.0, of_quality=lambda quality: 2.0**quality, length=12):
    """Pictures whose bits follow from their quality alone. -> the bits of each group"""
    spent = []
    for _ in range(groups):
        control.begin()
        total = key * 2.0 ** (control.quality / 2)
        control.spend(total, is_key=True)
        for _ in range(length - 1):
            bits = of_quality(control.quality)
            control.spend(bits, is_key=False)
            total += bits
        spent.append(total)
    return spent


@pytest.mark.parametrize("bits", [250.0, 700.0, 1500.0])
def test_groups_come_close_to_the_bits_that_are_asked_for(bits):
    spent = run(RateControl(bits, 12, 8), 12)
    assert sum(spent[4:]) / 8 == pytest.approx(bits, rel=0.15)


def test_what_cannot_be_reached_is_the_best_or_the_smallest():
    control = RateControl(1.0, 12, 8)
    run(control, 3)
    assert control.quality == 1
    control = RateControl(1e9, 12, 8)
    run(control, 3)
    assert control.quality == 8


def test_a_group_that_a_scene_cuts_short_leaves_nothing_to_the_next():
    control = RateControl(700.0, 12, 8)
    run(control, 6)
    before = control.quality
    run(control, 4, length=3)
    assert abs(control.quality - before) <= 2
