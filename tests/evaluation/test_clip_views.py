from fractions import Fraction

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from refilm.data.labelled_clips import TimedFrames
from refilm.evaluation.clip_views import VIEWS, drawn, kept_around, kept_for, middle_view
from refilm.models.contract import Sampling
from refilm.stages.snippets import chosen
from refilm.video import Colour, Frame, PixelFormat


def test_frames_are_kept_upright_and_whole():
    frame = Frame(
        tuple(np.full((4, 8), level, np.uint8) for level in (10, 20, 30)),
        PixelFormat("gbrp", "rgb", 8),
        Colour(matrix="rgb", range="pc"),
        Fraction(0),
        Fraction(1),
    )
    assert kept_for(2, 4)(frame, 0).flatten(1).unique(dim=1).flatten().tolist() == [30, 10, 20]
    assert kept_for(8, 4)(frame, 90).shape == (3, 8, 4)


def test_the_middle_of_each_segment_is_seen():
    frames = torch.arange(10, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    clip = TimedFrames(frames, tuple(Fraction(n, 10) for n in range(10)), Fraction(1))
    view = middle_view(clip, Sampling(segments=2, snippet=3, rate=Fraction(10)))
    assert view.shape == (3, 6, 2, 2)
    assert (view[0, :, 0, 0] * 255).round().tolist() == [1, 2, 3, 6, 7, 8]


def times(count, rate):
    return [Fraction(number, rate) for number in range(count)]


@given(st.integers(1, 8), st.integers(1, 6), st.integers(2, 90), st.lists(st.floats(-0.5, 0.5), min_size=8, max_size=8))
def test_drawn_snippets_stay_within_the_film_and_keep_their_distances(segments, snippet, count, shifts):
    sampling = Sampling(segments, snippet, Fraction(15))
    places = drawn(sampling, times(count, 30), Fraction(0), Fraction(count, 30), shifts[:segments])
    assert len(places) == sampling.frames
    assert 0 <= min(places) <= max(places) < count
    if 2 * (snippet - 1) < count:
        assert (torch.tensor(places).view(segments, snippet).diff(dim=1) == 2).all()


def test_without_a_shift_snippets_are_those_that_jobs_show():
    sampling = Sampling(3, 2, Fraction(5))
    film = times(50, 25), Fraction(0), Fraction(2)
    assert drawn(sampling, *film, [0.0] * 3) == chosen(sampling, *film)


def clip_of(height, width, count=30):
    frames = torch.randint(256, (count, 3, height, width), dtype=torch.uint8)
    return TimedFrames(frames, tuple(times(count, 10)), Fraction(count, 10))


def test_tsn_shows_25_segments_in_ten_crops():
    sampling, clip = Sampling(segments=3, height=8, width=8), clip_of(9, 16)
    views = list(VIEWS["tsn-25x10"].over(clip, sampling))
    assert len(views) == 10
    assert all(len(view.places) == 25 for view in views)
    assert {view.corner for view in views} == {(0, 0), (0, 8), (1, 0), (1, 8), (0, 4)}
    assert sum(view.mirrored for view in views) == 5
    plain, mirrored = (view.of(clip.frames_u8, 8, 8) for view in views[:2])
    assert plain.shape == (3, 25, 8, 8)
    assert torch.equal(plain.flip(3), mirrored)


def test_i3d_shows_ten_clips_in_three_crops_along_the_longer_side():
    sampling = Sampling(segments=1, snippet=4, rate=Fraction(10), height=8, width=8)
    views = list(VIEWS["i3d-10x3"].over(clip_of(9, 16), sampling))
    assert len(views) == 30
    assert {view.corner for view in views} == {(0, 0), (0, 4), (0, 8)}
    starts = [view.places[0] for view in views[::3]]
    assert starts == sorted(starts)
    assert (starts[0], starts[-1]) == (0, 26)
    assert {view.corner for view in VIEWS["i3d-10x3"].over(clip_of(16, 9), sampling)} == {(0, 0), (4, 0), (8, 0)}


def test_crops_are_taken_from_frames_a_seventh_larger_with_their_aspect():
    planes = tuple(np.zeros((120, 160), np.uint8) for _ in range(3))
    frame = Frame(planes, PixelFormat("gbrp", "rgb", 8), Colour(matrix="rgb", range="pc"), Fraction(0), Fraction(1))
    assert kept_around(56, 56)(frame, 0).shape == (3, 64, 85)
    assert kept_around(56, 56)(frame, 90).shape == (3, 85, 64)
