"""Models with a state, and models that redraw their inputs, over streams and segments."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from frames import gray_frame, level, stream

from refilm.errors import UsageError
from refilm.jobs.segments import SegmentEnd, run_segments
from refilm.models import create_model
from refilm.models.contract import Interpolator, Restorer
from refilm.stages.interpolate import Interpolate
from refilm.stages.restore import Restore
from refilm.stages.running import Interpolating, Restoring


class RunningMean(Restorer):
    """The mean of all frames since its state was forgotten."""

    task, window, reach, scale, temporal_filter, recurrent = "denoising", 1, None, 1, None, True

    def reset(self):
        self.sum, self.count = 0, 0

    def __call__(self, clip):
        self.sum, self.count = self.sum + clip[:, :, 0], self.count + 1
        return self.sum / self.count


def run_stage(stage, frames):
    return [result for frame in frames for result in stage.push(frame)] + list(stage.flush())


def means(levels):
    return [round(sum(levels[: n + 1]) / (n + 1)) for n in range(len(levels))]


def test_a_recurrent_restorer_begins_anew_with_each_scene_and_stream():
    stage = Restore("denoise", RunningMean())
    levels = [40, 60, 80, 200, 180, 160, 70]
    frames = [gray_frame(value, Fraction(n, 25), cut=n in (3, 6)) for n, value in enumerate(levels)]
    expected = means(levels[:3]) + means(levels[3:6]) + means(levels[6:])
    assert [level(frame) for frame in run_stage(stage, frames)] == expected
    assert [level(frame) for frame in run_stage(stage, frames)] == expected


class Following(Interpolator):
    """Notes which frames it is shown, and when it forgets them."""

    task, window, reach, recurrent = "interpolation", 2, None, True

    def __init__(self):
        self.told = []

    def reset(self):
        self.told.append("reset")

    def between(self, clip, times):
        self.told.append(tuple(round(float(frame.mean()) * 219 + 16) for frame in clip[0].unbind(1)))
        return clip[:, :, :1].expand(-1, -1, len(times), -1, -1)


def test_a_recurrent_interpolator_is_shown_each_interval_once_in_order():
    model = Following()
    run_stage(Interpolate(model, times=2), stream(7, cuts=[3]))
    first, second = [(40, 41), (41, 42)], [(43, 44), (44, 45), (45, 46)]
    assert model.told == ["reset", *first, "reset", *second]


def test_a_recurrent_interpolator_is_shown_intervals_in_which_no_frame_is_wanted():
    model = Following()
    run_stage(Interpolate(model, fps=Fraction(10)), stream(6))
    assert model.told == ["reset", *((40 + n, 41 + n) for n in range(5))]


class Darken(Interpolator):
    """Redraws its inputs one code darker for each interval of the scene that it has seen before."""

    task, window, reach, recurrent, redraws_inputs = "interpolation", 2, None, True, True
    instants = (Fraction(1, 2),)

    def reset(self):
        self.seen = 0

    def between(self, clip, times):
        self.seen += 1
        pair = clip.unbind(2)
        frames = [torch.lerp(*pair, float(time)) - (self.seen - 1) / 219 for time in times]
        return torch.stack(frames, dim=2) if frames else clip[:, :, :0]


@pytest.mark.parametrize("times", [1, 2])
def test_a_recurrent_model_redraws_the_last_frame_of_a_scene_with_the_state_of_its_interval(times):
    frames = [gray_frame(100, Fraction(n, 25), cut=n == 4) for n in range(7)]
    results = run_stage(Interpolate(Darken(), times=times), frames)
    own = [level(frame) for frame in results if frame.origin == "restored"]
    assert own == [100, 99, 98, 98, 100, 99, 99]


@pytest.mark.parametrize("wish", [{"times": 4}, {"fps": Fraction(60)}, {"times": 2, "drop_repeats": True}])
def test_a_model_that_makes_the_middle_frame_alone_refuses_other_times_before_the_work(wish):
    with pytest.raises(UsageError, match="Darken makes frames at 1/2 of the way between two alone: use times = 1 or 2"):
        Interpolate(Darken(), **wish)


class Lighten(Interpolator):
    """A blend, ten codes lighter, which it also makes of the frames it is given."""

    task, reach, redraws_inputs = "interpolation", 0, True

    def __init__(self, window):
        self._window = window

    @property
    def window(self):
        return self._window

    def between(self, clip, times):
        first, second = clip[:, :, self.window // 2 - 1], clip[:, :, self.window // 2]
        return torch.stack([torch.lerp(first, second, float(time)) for time in times], dim=2) + 10 / 219


@pytest.mark.parametrize("window", [2, 4])
@pytest.mark.parametrize("cuts", [[], [1], [3], [3, 4], [2, 5, 6]])
@pytest.mark.parametrize("rate", [{"times": 1}, {"times": 3}, {"fps": Fraction(75)}])
def test_a_model_that_redraws_its_inputs_replaces_all_of_them_but_scenes_of_one_frame(window, cuts, rate):
    frames = stream(7, cuts=cuts)
    results = run_stage(Interpolate(Lighten(window), **rate), frames)
    shown = {frame.time: frame for frame in results}
    borders = [0, *cuts, len(frames)]
    alone = {first for first, following in pairwise(borders) if following - first == 1}
    for number, frame in enumerate(frames):
        result = shown[frame.time]
        untouched = number in alone
        assert result.origin == ("source" if untouched else "restored")
        assert level(result) == level(frame) + (0 if untouched else 10)
        assert result.starts_scene == frame.starts_scene
    new = [frame for frame in results if frame.origin == "new"]
    assert len(results) == len(frames) + len(new) + sum(frame.origin == "repeated" for frame in results)
    lightened = (50 + frame.time * 25 for frame in new)
    assert all(abs(level(frame) - wanted) <= 0.5 for frame, wanted in zip(new, lightened, strict=True))


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@pytest.mark.parametrize("cuts", [[], [3], [3, 4]])
def test_a_segment_redraws_what_the_whole_stream_would(length, cuts):
    whole = run_stage(Interpolate(Lighten(2), times=2), stream(9, cuts=cuts))
    items = run_segments(iter(stream(9, cuts=cuts)), lambda: Interpolate(Lighten(2), times=2), length)
    parts = [item for item in items if not isinstance(item, SegmentEnd)]
    assert [(f.time, level(f), f.origin) for f in parts] == [(f.time, level(f), f.origin) for f in whole]


class Kinds(Restorer):
    """Notes in which numbers it is asked to compute."""

    task, window, reach, temporal_filter = "denoising", 1, None, None

    def __call__(self, clip):
        self.kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        return clip[:, :, 0].to(self.kind)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pictures_are_made_in_the_precision_of_the_model_and_given_in_float32(precision):
    model = Kinds()
    model.precision = precision
    ((_, result),) = Restoring(model).over([(0, lambda: torch.full((3, 4, 4), 1 / 3))])
    assert result().dtype == torch.float32
    assert model.kind == getattr(torch, precision)
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["vdn-ls3d-small", "vi-ls3d-small", "sosr-small"])
def test_bfloat16_changes_pictures_by_less_than_a_code(name):
    model = create_model(name).eval()
    coarse = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(coarse[None], (48, 80), mode="bicubic")[0].clamp(0, 1)
    clip = torch.stack([wide[:, :, n : n + 64] for n in range(model.window)], dim=1)
    results = []
    for model.precision in ("float32", "bfloat16"):
        if model.task == "interpolation":
            results.append(Interpolating(model).predict(clip, [Fraction(1, 2)])[0])
        else:
            pictures = Restoring(model, filtered=False).over((n, lambda n=n: clip[:, n]) for n in range(model.window))
            results.append(dict(pictures)[model.window // 2]())
    difference = (results[0] - results[1]).abs()
    assert 0 < difference.mean() < 0.5 / 255
    assert difference.max() < 4 / 255
