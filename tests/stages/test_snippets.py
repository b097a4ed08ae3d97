"""A recogniser is shown the frames that are on the screen at the times of its sampling, upright and small."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from frames import gray_frame
from hypothesis import given
from hypothesis import strategies as st

import refilm
from refilm.models.contract import Sampling
from refilm.stages.snippets import SmallFrame, chosen, clip_of, reduced, sample_times

SECOND = Fraction(1)


def test_snippets_lie_around_the_middles_of_equal_parts():
    sampling = Sampling(segments=2, snippet=3, rate=Fraction(10))
    times = sample_times(sampling, 4 * SECOND, 8 * SECOND)
    assert times == [Fraction(n, 10) for n in (49, 50, 51, 69, 70, 71)]
    assert sample_times(replace(sampling, snippet=1), SECOND, 2 * SECOND) == [Fraction(5, 4), Fraction(7, 4)]


def test_a_frame_is_shown_until_the_next_one_begins():
    sampling = Sampling(segments=4, rate=Fraction(25))
    times = [Fraction(0), Fraction(1, 8), Fraction(5, 8), Fraction(9, 10)]
    assert chosen(sampling, times, Fraction(0), SECOND) == [1, 1, 2, 2]


def test_no_frame_is_taken_from_beyond_the_stretch():
    sampling = Sampling(segments=1, snippet=5, rate=Fraction(2))  # from a second before the middle to one after it
    times = [Fraction(n, 4) for n in range(20)]
    assert chosen(sampling, times, SECOND, 2 * SECOND) == [4, 4, 6, 7, 7]
    assert chosen(sampling, times, Fraction(9, 8), Fraction(10, 8)) == [4] * 5, "shown from before it to its end"


@given(
    steps=st.lists(st.integers(1, 900), min_size=1, max_size=40),
    begin=st.integers(0, 3000),
    length=st.integers(1, 3000),
    segments=st.integers(1, 5),
    snippet=st.integers(1, 4),
)
def test_each_frame_is_the_last_one_before_its_time(steps, begin, length, segments, snippet):
    times = [Fraction(sum(steps[:n]), 1000) for n in range(len(steps))]
    sampling = Sampling(segments, snippet, Fraction(7))
    begin, end = Fraction(begin, 1000), Fraction(begin + length, 1000)
    shown = [n for n, time in enumerate(times) if time < end and [*times, end][n + 1] > begin] or [len(times) - 1]
    expected = []
    for wanted in sample_times(sampling, begin, end):
        before = [n for n, time in enumerate(times) if time <= wanted]
        expected.append(min(max(before[-1] if before else 0, shown[0]), shown[-1]))
    assert chosen(sampling, times, begin, end) == expected


def test_a_frame_keeps_its_time_and_its_colour_when_it_is_reduced():
    frame = gray_frame(126, Fraction(7, 25), size=(64, 96), cut=True)  # the middle of black and white
    small = reduced(frame, 8, 12)
    assert (small.time, small.duration, small.starts_scene) == (frame.time, frame.duration, True)
    assert small.rgb.shape == (3, 8, 12)
    assert torch.allclose(small.rgb, torch.tensor((126 - 16) / 219), atol=0.5 / 255)
    assert reduced(small, 4, 4) is small, "it has its size already"


@pytest.mark.parametrize(("rotation", "turned"), [(0, 0), (90, 1), (180, 2), (-90, 3), (270, 3)])
def test_a_rotated_film_is_seen_upright(rotation, turned):
    picture = np.zeros((40, 40), np.uint8)
    picture[:20, 20:] = 235  # the upper right quarter
    frame = gray_frame(16, Fraction(0), size=(40, 40))
    frame = replace(frame, planes=(picture, *frame.planes[1:]))
    quarters = reduced(frame, 2, 2, rotation).rgb[1] > 0.5
    assert quarters.tolist() == np.rot90([[False, True], [False, False]], turned).tolist()


def test_a_small_picture_is_enlarged_smoothly(media):
    frame = next(refilm.open(media("cfr-24").path))
    small = reduced(frame, 224, 224)
    assert small.rgb.shape == (3, 224, 224)
    assert small.rgb.diff(dim=2).abs().max() < frame.rgb.diff(dim=2).abs().max()


def test_a_clip_has_its_frames_in_order():
    levels = [16, 126, 235]
    small = [reduced(gray_frame(level, Fraction(n)), 4, 6) for n, level in enumerate(levels)]
    clip = clip_of(small)
    assert isinstance(small[0], SmallFrame)
    assert clip.shape == (3, 3, 4, 6)
    assert torch.equal(clip, torch.stack([frame.rgb for frame in small], dim=1))
