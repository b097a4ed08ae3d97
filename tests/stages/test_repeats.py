"""Repeats are told from slow and still scenes; dropping them changes no time and evens out motion."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from frames import gray_frame, level
from stages.test_stage import Blend, Lean, run

from refilm.jobs.segments import SegmentEnd, run_segments
from refilm.stages.interpolate import Interpolate
from refilm.stages.repeats import RepeatMarker


def films(pictures, noise=0.0, cuts=(), speed=3):
    """Frames at 25 per second that show a moving picture at these moments, with noise of that deviation."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:48, 0:64]
    frames = []
    for number, moment in enumerate(pictures):
        luma = 120 + 60 * np.sin((x - speed * moment) / 5) * np.cos(y / 7) + noise * rng.standard_normal(x.shape)
        frame = gray_frame(0, Fraction(number, 25), Fraction(1, 25), number in cuts, (48, 64))
        frames.append(replace(frame, planes=(luma.round().clip(0, 255).astype(np.uint8), *frame.planes[1:])))
    return frames


def marks(frames):
    marker = RepeatMarker()
    told = [answer for frame in frames for answer in marker.push(frame)] + list(marker.flush())
    assert [frame for frame, _ in told] == frames
    return [is_repeat for _, is_repeat in told], marker.finding


PATTERNS = {
    "twos": [n // 2 * 2 for n in range(24)],
    "threes": [n // 3 * 3 for n in range(24)],
    "fours": [n // 4 * 4 for n in range(24)],
    "24 in 30": [n * 4 // 5 * 1.25 for n in range(25)],
    "twos and ones": [0, 0, 2, 3, 4, 4, 6, 6, 8, 9, 10, 10],
}


@pytest.mark.parametrize("noise", [0, 1])
@pytest.mark.parametrize("name", PATTERNS)
def test_repeats_are_found_and_counted(name, noise):
    pictures = PATTERNS[name]
    expected = [n > 0 and moment == pictures[n - 1] for n, moment in enumerate(pictures)]
    found, finding = marks(films(pictures, noise))
    assert found == expected
    assert finding.repeats == sum(expected)
    assert finding.frames == len(pictures)


@pytest.mark.parametrize("speed", [0, 0.1, 1, 5])
@pytest.mark.parametrize("noise", [0, 2])
def test_still_and_slow_scenes_have_no_repeats(speed, noise):
    found, finding = marks(films(range(30), noise, speed=speed))
    assert not any(found)
    assert finding.repeats == 0


def test_motion_that_pauses_for_long_has_no_repeats():
    pictures = [*range(6), *[5] * 12, *range(6, 12)]
    assert not any(marks(films(pictures))[0])


def test_a_scene_begins_with_no_repeat():
    pictures = [0, 0, 2, 2, 2, 2, 4, 4]
    assert marks(films(pictures, cuts=[5]))[0] == [False, True, False, True, True, False, False, True]


def test_an_answer_depends_on_the_frames_around_only():
    frames = films([*PATTERNS["twos"], *range(24, 30), *[30] * 6, *range(30, 36)], noise=1)
    whole, _ = marks(frames)
    past, future = RepeatMarker.past, RepeatMarker.future
    for start in range(past, len(frames)):
        assert marks(frames[start - past :])[0][past:] == whole[start:]
        assert marks(frames[: start + future])[0][:start] == whole[:start]


def drawn(levels, cuts=()):
    """Frames of these levels, at 25 per second."""
    return [gray_frame(level, Fraction(n, 25), cut=n in cuts) for n, level in enumerate(levels)]


TWOS = [40, 40, 80, 80, 120, 120, 160, 160, 200, 200]


@pytest.mark.parametrize(
    "rate", [{"times": 1}, {"times": 2}, {"times": 3}, {"fps": Fraction(60)}, {"fps": Fraction(10)}]
)
def test_dropping_repeats_changes_no_time(rate):
    for levels in (TWOS, TWOS[:9], TWOS[:1], TWOS[:2]):
        with_repeats = run(Interpolate(Blend(), **rate), drawn(levels))
        without = run(Interpolate(Blend(), **rate, drop_repeats=True), drawn(levels))
        assert [(f.time, f.duration) for f in without] == [(f.time, f.duration) for f in with_repeats]


def test_motion_on_twos_becomes_even():
    results = run(Interpolate(Blend(), times=2, drop_repeats=True), drawn(TWOS))
    assert [level(frame) for frame in results] == [*range(40, 200, 10), 200, 200, 200]
    assert [frame.origin for frame in results[:4]] == ["source", "new", "new", "new"]
    assert [frame.origin for frame in results[-3:]] == ["source", "repeated", "repeated"]


def test_a_dropped_repeat_before_a_cut_is_shown_as_long_as_the_source_shows_it():
    results = run(Interpolate(Blend(), times=2, drop_repeats=True), drawn(TWOS, cuts=[6]))
    shown = {frame.time * 50: level(frame) for frame in results}
    assert [shown[n] for n in range(8, 13)] == [120, 120, 120, 160, 160]


@pytest.mark.parametrize("model", [Blend, Lean])
@pytest.mark.parametrize("rate", [{"times": 2}, {"fps": Fraction(60)}])
@pytest.mark.parametrize("length", [3, 4, 7, 16])
def test_segments_without_repeats_equal_the_whole(model, rate, length):
    levels = [*TWOS, *TWOS[::-1], 50, 100, 150, 200, 200, 200, 100, 100, 100, 100, 60, 60, 60, 60, 60, 60, 140, 180]
    frames = drawn(levels, cuts=[10, 23, 27])

    def make():
        return Interpolate(model(), **rate, drop_repeats=True)

    whole = [(f.time, level(f), f.duration, f.origin) for f in run(make(), frames)]
    items = run_segments(iter(frames), make, length, lead=3)
    ends = []
    parts = []
    for item in items:
        (ends if isinstance(item, SegmentEnd) else parts).append(item)
    assert [(f.time, level(f), f.duration, f.origin) for f in parts] == whole
    for number, end in enumerate(ends[:-1], start=1):
        rest = run_segments(iter(frames[end.next_start.index :]), make, length, lead=3, first=number)
        later = [(f.time, level(f), f.duration, f.origin) for f in rest if not isinstance(f, SegmentEnd)]
        assert later == whole[-len(later) :]


GAP = [Fraction(n, 25) for n in range(4)] + [Fraction(4) + Fraction(n, 25) for n in range(4)]


@pytest.mark.parametrize("cut", [False, True])
def test_a_gap_is_held_and_what_is_new_lies_near_the_change(cut):
    frames = [gray_frame(40 + 20 * n, time, cut=cut and n == 4) for n, time in enumerate(GAP)]
    step = Fraction(1, 25)
    results = run(Interpolate(Blend(), times=4, usual_step=step), frames)
    assert [f.time for f in results[12:17]] == [GAP[3], *(4 - step + k * step / 4 for k in range(1, 4)), GAP[4]]
    assert [level(f) for f in results[12:17]] == ([100, 100, 120, 120, 120] if cut else [100, 105, 110, 115, 120])
    assert results[12].duration == results[13].time - results[12].time
    even = run(Interpolate(Blend(), fps=Fraction(100), usual_step=step), frames)
    during = [f for f in even if GAP[3] < f.time <= 4 - step]
    assert {level(f) for f in during} == {100}
    assert {f.origin for f in during} == {"repeated"}
    assert [level(f) for f in even if 4 - step < f.time <= 4] == [level(f) for f in results[13:17]]


def test_a_low_rate_and_lost_frames_are_no_gaps():
    for times in ([Fraction(n) for n in range(4)], [Fraction(n, 25) for n in (0, 1, 2, 12, 13)]):
        frames = [gray_frame(40 + 20 * n, time) for n, time in enumerate(times)]
        step = min(b - a for a, b in pairwise(times))
        plain = [(f.time, level(f)) for f in run(Interpolate(Blend(), times=2), frames)]
        assert [(f.time, level(f)) for f in run(Interpolate(Blend(), times=2, usual_step=step), frames)] == plain
