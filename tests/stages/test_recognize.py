"""A film is cut into stretches by its times and its scene cuts alone, and each is recognised once."""

from __future__ import annotations

import gc
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from frames import gray_frame, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from toys.shade import CENTRES, Shade

from refilm.jobs.segments import SegmentEnd, run_segments
from refilm.models.contract import Restorer
from refilm.stages.recognize import Recognize
from refilm.stages.running import stand_in
from refilm.stages.snippets import SmallFrame, chosen
from refilm.stages.stage import StreamShape
from refilm.stages.timeline import Joining
from refilm.video import Frame

SECOND = Fraction(1)
SHAPE = StreamShape(12, 8, Fraction(25), Fraction(1, 25), Fraction(0))


class Noting(Shade):
    """Notes the levels of the frames that it is shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, clip):
        self.seen.append([round(float(frame.mean()) * 219 + 16) for frame in clip[0].unbind(1)])
        return super().forward(clip)


class Mean(nn.Module, Restorer):
    """The mean of a frame and its neighbours, at four times the size."""

    task = "super-resolution"
    window, scale, size_multiple, reach = 3, 4, 1, 0
    temporal_filter = None

    def forward(self, clip):
        return F.interpolate(clip.mean(dim=2), scale_factor=4)


class Flat(Mean):
    """Frames of one level."""

    def __init__(self, level):
        super().__init__()
        self.level = level

    def forward(self, clip):
        return torch.full_like(super().forward(clip), self.level)


class TwoStreams(Shade):
    """Two streams, of which that which looks at motion counts twice."""

    sees = ("rgb", "motion")

    def by_stream(self, clip):
        logits = super().forward(clip)
        return {"rgb": logits, "motion": 2 * logits}

    def forward(self, clip):
        return sum(self.by_stream(clip).values())


def run(stage, frames):
    results = [result for frame in frames for result in stage.push(frame)]
    return results + list(stage.flush())


def spans(items):
    return [(item.time, item.end) for item in items]


def seconds(*borders):
    return [(Fraction(a), Fraction(b)) for a, b in pairwise(borders)]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (1, seconds(0, Fraction(1, 25))),
        (2, seconds(0, Fraction(2, 25))),
        (25, seconds(0, 1)),
        (37, seconds(0, Fraction(37, 25))),  # the rest is less than half a second
        (38, seconds(0, 1, Fraction(38, 25))),
        (75, seconds(0, 1, 2, 3)),
    ],
)
def test_windows_follow_each_other_and_a_short_rest_belongs_to_the_last(frames, expected):
    found = run(Recognize(Shade(), SHAPE), stream(frames))
    assert spans(found) == expected
    assert all(stretch.closes for stretch in found)


def test_longer_windows_are_means_of_what_the_model_sees_at_once():
    found = run(Recognize(Shade(), SHAPE, every=Fraction(5, 2)), stream(125))
    assert spans(found) == seconds(*(Fraction(5 * n, 6) for n in range(7)))
    assert [stretch.closes for stretch in found] == [False, False, True] * 2
    assert spans(Joining().over(found)) == seconds(0, Fraction(5, 2), 5)


def test_shots_end_at_cuts_wherever_these_are():
    # cuts shortly after a place of the grid (1.04 s), shortly before one (2.96 s), and between
    found = run(Recognize(Shade(), SHAPE, shots=True), stream(100, cuts=[26, 74, 90]))
    borders = [Fraction(n, 25) for n in (0, 26, 50, 74, 75, 90, 100)]
    assert spans(found) == seconds(*borders)
    assert [stretch.closes for stretch in found] == [True, False, True, False, True, True]
    assert spans(Joining().over(found)) == seconds(*(Fraction(n, 25) for n in (0, 26, 74, 90, 100)))


def test_without_shots_cuts_do_not_count():
    assert spans(run(Recognize(Shade(), SHAPE), stream(50, cuts=[10]))) == seconds(0, 1, 2)


def test_the_model_sees_the_frames_that_are_shown_at_the_times_of_its_sampling_and_none_of_another_shot():
    model, frames = Noting(), stream(60, cuts=[40])
    found = run(Recognize(model, SHAPE, shots=True), frames)
    times, levels = [frame.time for frame in frames], [int(frame.planes[0][0, 0]) for frame in frames]
    expected = [[levels[place] for place in chosen(model.sampling, times, *span)] for span in spans(found)]
    assert model.seen == expected
    assert spans(found) == seconds(0, 1, Fraction(40, 25), Fraction(60, 25))
    assert max(model.seen[1]) < levels[40] <= min(model.seen[2])


def test_scores_are_the_models_and_sum_to_1():
    (stretch,) = run(Recognize(Shade(), SHAPE), [gray_frame(235, n * SECOND / 25) for n in range(25)])
    logits = torch.tensor([-20 * abs(1 - centre) for centre in CENTRES])
    assert stretch.scores == pytest.approx(logits.softmax(0).tolist(), abs=1e-3)
    assert sum(stretch.scores) == pytest.approx(1, abs=1e-5)


def test_a_picture_is_kept_if_asked_for():
    stage = Recognize(Shade(), SHAPE)
    assert run(stage, stream(5))[0].picture == b""
    stage.keeps_pictures = True
    assert run(stage, stream(5))[0].picture.startswith(b"\xff\xd8")


def test_is_as_new_after_flush():
    stage = Recognize(Shade(), SHAPE, shots=True)
    frames = stream(70, cuts=[30])
    assert run(stage, frames) == run(stage, frames)
    assert run(stage, []) == []


def test_holds_small_frames_alone_and_no_more_of_them_the_longer_the_film():
    def held(count):
        stage = Recognize(Shade(), SHAPE)
        for frame in stream(count):
            list(stage.push(frame))
        del frame
        gc.collect()
        things = [type(thing) for thing in gc.get_objects() if type(thing) in (Frame, SmallFrame)]
        assert Frame not in things
        return things.count(SmallFrame)

    assert held(260) == held(60) <= 2.5 * 25


@st.composite
def films(draw):
    """Frames of uneven length with cuts at some of them; (frames, usual shape)."""
    steps = draw(st.lists(st.integers(1, 400), min_size=1, max_size=60))
    cuts = draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))
    start, time, frames = draw(st.integers(-500, 500)), 0, []
    for number, step in enumerate(steps):
        cut = cuts[number] and number > 0
        frames.append(
            gray_frame(16 + 7 * number % 219, Fraction(start + time, 1000), Fraction(step, 1000), cut and step % 2 == 0)
        )
        time += step
    return frames, replace(SHAPE, start_time=frames[0].time)


@settings(max_examples=30)
@given(
    film=films(),
    length=st.sampled_from([1, 2, 5, 16]),
    every=st.sampled_from([None, Fraction(1, 3), Fraction(5, 2)]),
    shots=st.booleans(),
    through=st.sampled_from([(), (Mean(),)]),
)
def test_segments_together_equal_the_whole_film_wherever_a_run_begins(film, length, every, shots, through):
    frames, shape = film
    model = Noting()

    def make():
        return Recognize(model, shape, every=None if shots else every, shots=shots, through=through)

    whole = run(make(), frames)
    at_once, model.seen = model.seen, []
    items = list(run_segments(iter(frames), make, length, lead=3))
    assert [item for item in items if not isinstance(item, SegmentEnd)] == whole
    assert model.seen == at_once, "each stretch is seen once"
    ends = [item for item in items if isinstance(item, SegmentEnd)]
    assert sum(end.frames_in for end in ends) == len(frames)
    for number, end in enumerate(ends[:-1], start=1):
        behind = 0 if end.next_start is None else end.next_start.index
        rest = list(run_segments(iter(frames[behind:]), make, length, lead=3, first=number))
        begin = frames[number * length].time
        assert [item for item in rest if not isinstance(item, SegmentEnd)] == [s for s in whole if s.time >= begin]
        assert [item for item in rest if isinstance(item, SegmentEnd)] == ends[number:]


@settings(max_examples=30)
@given(film=films(), shots=st.booleans())
def test_stretches_cover_the_film_without_gaps_and_are_of_use(film, shots):
    frames, shape = film
    found = run(Recognize(Shade(), shape, shots=shots), frames)
    end = frames[-1].time + frames[-1].duration
    assert [stretch.time for stretch in found] == [frames[0].time, *(stretch.end for stretch in found[:-1])]
    assert found[-1].end == end
    cuts = {frame.time for frame in frames[1:] if frame.starts_scene} if shots else set()
    assert cuts <= {stretch.time for stretch in found}
    for stretch in found:
        assert 0 < stretch.end - stretch.time < Fraction(3, 2) + Fraction(1, 1000)
        if stretch.time not in cuts and stretch.time != frames[0].time:
            assert (stretch.time - frames[0].time).denominator == 1, "on the grid"
            assert stretch.end - stretch.time >= Fraction(1, 2)


def test_frames_that_the_model_sees_are_enlarged_with_their_neighbours_of_the_same_scene():
    model = Noting()
    levels = [30 + n * n * 7 % 190 for n in range(60)]
    cuts = {26}
    frames = [gray_frame(level, n * SECOND / 25, cut=n in cuts) for n, level in enumerate(levels)]
    found = run(Recognize(model, SHAPE, through=[Mean()]), frames)
    times = [frame.time for frame in frames]
    for seen, span in zip(model.seen, spans(found), strict=True):
        for level, place in zip(seen, chosen(model.sampling, times, *span), strict=True):
            first, last = (0, 25) if place < 26 else (26, 59)
            near = [levels[n] for n in stand_in(range(place - 1, place + 2), first, last)]
            assert level == pytest.approx(sum(near) / 3, abs=1)


def test_streams_are_shown_what_their_own_model_made():
    (stretch,) = run(Recognize(TwoStreams(), SHAPE, through=[Flat(0.2), Flat(0.7)]), stream(25))
    logits = torch.tensor([-20 * (abs(0.2 - centre) + 2 * abs(0.7 - centre)) for centre in CENTRES])
    assert stretch.scores == pytest.approx(logits.softmax(0).tolist(), abs=0.03)
    # a recogniser that only looks at single frames is shown what the first one made
    (stretch,) = run(Recognize(Shade(), SHAPE, through=[Flat(0.0), Flat(1.0)]), stream(25))
    assert stretch.scores[0] > 0.99


def test_for_enlarging_frames_are_held_in_their_own_size_and_no_more_the_longer_the_film():
    def held(count):
        stage = Recognize(Shade(), SHAPE, through=[Mean()])
        for frame in stream(count):
            list(stage.push(frame))
        return len(stage._held)

    assert held(260) == held(60) <= 2.5 * 25
    stage = Recognize(Shade(), SHAPE, through=[Mean()])
    assert (stage.past, stage.future) == (1, 0)
    assert stage.seconds_a_frame(SHAPE) > 0
    small, large = (
        Recognize(Shade(), SHAPE, through=[Mean()]).demands(replace(SHAPE, width=side, height=side)) for side in (8, 16)
    )
    assert large[0].held > small[0].held, "planned by the size of the film"
    assert len(small) == 2
    assert small[1].whole > 0, "and so is what the model takes"


def test_what_it_holds_is_planned_by_the_size_of_the_model_and_not_of_the_film():
    small, large = (Recognize(Shade(), SHAPE).demands(replace(SHAPE, width=w, height=w)) for w in (64, 4096))
    assert [d.held for d in small] == [d.held for d in large]
    assert small[0].held >= 3 * 8 * 12 * 37
