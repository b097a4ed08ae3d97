"""One suite over every stage, and what each of them promises besides."""

from __future__ import annotations

import gc
import itertools
from fractions import Fraction

import pytest
import torch
from frames import gray_frame, level, stream

from refilm.errors import UsageError
from refilm.models.contract import Interpolator, Restorer
from refilm.stages.findings import SelfCheck
from refilm.stages.interpolate import Interpolate
from refilm.stages.restore import Restore
from refilm.stages.stage import Chain, StreamShape
from refilm.video import Frame


class Blend(Interpolator):
    """The plainest interpolator, whose results can be told by arithmetic."""

    task = "interpolation"
    window, reach = 2, 0

    def between(self, clip, times):
        return torch.stack([torch.lerp(clip[:, :, 0], clip[:, :, 1], float(time)) for time in times], dim=2)


class Lean(Interpolator):
    """An interpolator to which each of four frames counts differently, and which notes what it was shown."""

    task = "interpolation"
    window, reach = 4, 0

    def __init__(self):
        self.seen = []

    def between(self, clip, times):
        self.seen.append([round(float(frame.mean()) * 219 + 16) for frame in clip[0].unbind(1)])
        return torch.stack([lean(clip) * float(1 + time) for time in times], dim=2)


def middle(before, frame, after):
    return frame


def lean(window):
    """A mean that gives every frame of the window another weight."""
    weights = torch.arange(1.0, window.shape[2] + 1)
    return torch.einsum("nctyx,t->ncyx", window, weights / weights.sum())


def twice_as_large(window):
    return lean(window).repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)


class Made(Restorer):
    """A restorer made of a function of a window, and of one of three results."""

    task, reach, window, scale, temporal_filter = "denoising", 0, 1, 1, None

    def __init__(self, run, window, scale=1, temporal_filter=None):
        self.run, self.window, self.scale, self.temporal_filter = run, window, scale, temporal_filter

    def __call__(self, clip):
        return self.run(clip)


def restore(run, radius, scale=1, temporal_filter=None):
    return Restore("denoise", Made(run, 2 * radius + 1, scale, temporal_filter))


STAGES = {
    "times": lambda: Interpolate(Blend(), times=4),
    "fps": lambda: Interpolate(Blend(), fps=Fraction(60)),
    "four frames": lambda: Interpolate(Lean(), times=4),
    "four frames, fps": lambda: Interpolate(Lean(), fps=Fraction(60)),
    "window": lambda: restore(lean, 2),
    "two windows": lambda: restore(twice_as_large, 2, 2, middle),
    "chain": lambda: Chain([restore(lean, 1), restore(twice_as_large, 2, 2), Interpolate(Lean(), times=2)]),
}
PROMISED = {
    "times": lambda n: 4 * (n - 1) + 1 if n else 0,
    "fps": lambda n: -(-n * 60 // 25),
    "four frames": lambda n: 4 * (n - 1) + 1 if n else 0,
    "four frames, fps": lambda n: -(-n * 60 // 25),
    "window": lambda n: n,
    "two windows": lambda n: n,
    "chain": lambda n: 2 * (n - 1) + 1 if n else 0,
}


def run(stage, frames):
    results = [result for frame in frames for result in stage.push(frame)]
    return results + list(stage.flush())


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_gives_the_promised_number_of_frames_in_order_of_time(name, count):
    results = run(STAGES[name](), stream(count))
    assert len(results) == PROMISED[name](count)
    times = [frame.time for frame in results]
    assert times == sorted(set(times))


@pytest.mark.parametrize("name", STAGES)
def test_is_as_new_after_flush(name):
    stage = STAGES[name]()
    first = [(frame.time, level(frame)) for frame in run(stage, stream(5))]
    assert [(frame.time, level(frame)) for frame in run(stage, stream(5))] == first


@pytest.mark.parametrize("name", STAGES)
def test_durations_reach_from_frame_to_frame_and_add_up_to_the_source(name):
    results = run(STAGES[name](), stream(6))
    for frame, following in itertools.pairwise(results):
        assert frame.time + frame.duration == following.time
    end = results[-1].time + results[-1].duration
    assert 0 <= end - Fraction(6, 25) < results[0].duration


@pytest.mark.parametrize("name", STAGES)
def test_holds_no_more_frames_the_longer_the_stream(name):
    def held(count):
        stage = STAGES[name]()
        for frame in stream(count):
            list(stage.push(frame))
        gc.collect()
        return sum(type(thing) is Frame for thing in gc.get_objects())

    assert held(100) == held(10)


@pytest.mark.parametrize("name", STAGES)
def test_time_base_says_every_output_time_exactly(name):
    frames = [gray_frame(50 + n, Fraction(ticks, 90000)) for n, ticks in enumerate((1234, 5000, 11111, 11112))]
    stage = STAGES[name]()
    shape = StreamShape(12, 8, Fraction(25), Fraction(1, 90000), frames[0].time)
    if name.endswith("fps"):
        model = Lean() if name.startswith("four") else Blend()
        stage = Interpolate(model, fps=Fraction(60), start_time=frames[0].time)
    time_base = stage.shape(shape).time_base
    for frame in run(stage, frames):
        assert (frame.time / time_base).denominator == 1


def test_original_frames_keep_pixels_and_times_and_new_ones_fall_at_exact_fractions():
    frames = [
        gray_frame(40, Fraction(0)),
        gray_frame(80, Fraction(1, 7)),
        gray_frame(120, Fraction(1, 2), Fraction(1, 3)),
    ]
    results = run(Interpolate(Blend(), times=4), frames)
    assert [frame.time for frame in results[:5]] == [Fraction(k, 28) for k in range(5)]
    assert results[0].planes is frames[0].planes
    assert results[4].planes is frames[1].planes
    assert results[8].planes is frames[2].planes
    assert results[8].duration == Fraction(1, 3)
    assert [level(frame) for frame in results] == [40, 50, 60, 70, 80, 90, 100, 110, 120]


def test_24_to_60_is_right_frame_by_frame():
    start = Fraction(3, 2)
    frames = [gray_frame(40 + 20 * n, start + Fraction(n, 24), Fraction(1, 24)) for n in range(5)]
    results = run(Interpolate(Blend(), fps=Fraction(60), start_time=start), frames)
    assert [frame.time - start for frame in results] == [Fraction(k, 60) for k in range(13)]
    # output k lies at source position 0.4 k; the last source frame stands until its end at 5 / 24 s
    assert [level(frame) for frame in results] == [40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 120, 120]
    assert [frame.origin for frame in results].count("source") == 3


def test_24_to_24_is_the_identity():
    frames = [gray_frame(40 + n, Fraction(n, 24), Fraction(1, 24)) for n in range(6)]
    results = run(Interpolate(Blend(), fps=Fraction(24)), frames)
    assert [(frame.time, frame.planes) for frame in results] == [(frame.time, frame.planes) for frame in frames]


@pytest.mark.parametrize("name", ["times", "fps"])
def test_no_frame_mixes_the_scenes_on_both_sides_of_a_cut(name):
    frames = [gray_frame(50 if n < 3 else 200, Fraction(n, 25), cut=n == 3) for n in range(6)]
    results = run(STAGES[name](), frames)
    assert {level(frame) for frame in results} == {50, 200}
    for frame in results:
        if frame.origin == "repeated" and frame.time < Fraction(5, 25):
            assert level(frame) == (50 if frame.time < Fraction(5, 50) else 200), "the nearer frame is repeated"


def shown(frames):
    """The levels of the four frames that each interval is made from."""
    model = Lean()
    stage = Interpolate(model, times=2)
    stage.check = SelfCheck(samples=1)  # it has been done
    run(stage, frames)
    return model.seen


def test_a_model_is_shown_the_frames_beyond_the_two():
    frames = stream(5)
    assert shown(frames) == [[40, 40, 41, 42], [40, 41, 42, 43], [41, 42, 43, 44], [42, 43, 44, 44]]
    assert shown(frames[:2]) == [[40, 40, 41, 41]]


def test_a_model_is_not_shown_frames_beyond_a_cut():
    assert shown(stream(6, cuts=[3])) == [[40, 40, 41, 42], [40, 41, 42, 42], [43, 43, 44, 45], [43, 44, 45, 45]]


def test_a_model_is_not_shown_frames_at_steps_of_other_length():
    # the clock counts in milliseconds; after the third frame, one is missing
    times = [0, 17, 33, 67, 83, 100]
    frames = [gray_frame(40 + n, Fraction(time, 1000)) for n, time in enumerate(times)]
    assert shown(frames) == [[40, 40, 41, 42], [40, 41, 42, 42], [42, 42, 43, 43], [43, 43, 44, 45], [43, 44, 45, 45]]


def test_a_window_does_not_reach_across_a_cut():
    def mean(window):
        return window.mean(dim=2)

    def mean_of_three(*results):
        return torch.stack(results).mean(dim=0)

    frames = [gray_frame(50 if n < 3 else 200, Fraction(n, 25), cut=n == 3) for n in range(7)]
    for stage in (restore(mean, 2), restore(mean, 2, temporal_filter=mean_of_three)):
        assert [level(frame) for frame in run(stage, frames)] == [50] * 3 + [200] * 4


def test_what_is_finished_sees_the_results_on_either_side():
    shown = []

    def finish(*results):
        shown.append([round(float(result.mean()) * 219 + 16) for result in results])
        return results[1]

    frames = run(restore(lambda window: window[:, :, 1] + 10 / 219, 1, temporal_filter=finish), stream(4))
    assert shown == [[50, 50, 51], [50, 51, 52], [51, 52, 53], [52, 53, 53]]
    assert [level(frame) for frame in frames] == [50, 51, 52, 53]


@pytest.mark.parametrize("name", STAGES)
def test_shape_says_the_size_of_what_comes_out(name):
    shape = STAGES[name]().shape(StreamShape(12, 8, Fraction(25), Fraction(1, 25), Fraction(0)))
    assert {(frame.width, frame.height) for frame in run(STAGES[name](), stream(3))} == {(shape.width, shape.height)}


def test_a_chain_is_its_stages_one_after_another():
    stages = [restore(lean, 1), restore(twice_as_large, 2, 2), Interpolate(Blend(), times=3)]
    frames = stream(9, cuts=[4])
    together = run(Chain(stages), frames)
    for stage in stages:
        frames = run(stage, frames)
    assert [(f.time, f.duration, level(f), f.origin) for f in together] == [
        (f.time, f.duration, level(f), f.origin) for f in frames
    ]
    assert {frame.origin for frame in together} == {"restored", "new", "repeated"}


def test_a_chain_asks_for_the_context_of_all_its_stages():
    stage = STAGES["chain"]()
    assert (stage.past, stage.future) == (4, 5)


def test_a_chain_refuses_a_change_of_frame_rate_that_is_not_its_last_stage():
    with pytest.raises(UsageError, match="Interpolate changes which frames there are, so it has to come last"):
        Chain([Interpolate(Blend(), fps=Fraction(10)), restore(lean, 2)])
    assert not Chain([restore(lean, 2), Interpolate(Blend(), fps=Fraction(10))]).keeps_rate


def test_self_check_predicts_a_real_frame_from_its_neighbours():
    stage = Interpolate(Blend(), times=2)
    run(stage, [gray_frame(40, Fraction(0)), gray_frame(60, Fraction(1, 25)), gray_frame(80, Fraction(2, 25))])
    assert stage.check.samples == 1
    assert stage.check.model == pytest.approx(0, abs=1e-9)
    assert stage.check.repeat > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of times and fps, got neither"),
        ({"times": 2, "fps": Fraction(60)}, "one of times and fps, got both"),
        ({"times": 0}, "times must be at least 1, got 0"),
        ({"fps": Fraction(-1)}, "fps must be above 0, got -1"),
    ],
)
def test_bad_arguments_are_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        Interpolate(Blend(), **arguments)
