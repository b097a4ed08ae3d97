"""Filters for VapourSynth: the pixels of refilm.stream, in any order, with exact rates."""

import sys
from fractions import Fraction
from importlib import import_module

import numpy as np
import pytest

import refilm

vs = pytest.importorskip("vapoursynth", reason="VapourSynth is not installed: tools/install_vapoursynth.py does it")

from refilm.export import vapoursynth as filters  # noqa: E402

HEIGHT, WIDTH = 40, 56


def pictures(number):
    """Waves that move to the right, [H, W, 3] in single precision."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [[0.5 + 0.4 * np.sin(0.3 * (x - 2 * n) + 0.2 * y + 2 * c) for c in range(3)] for n in range(number)]
    return [np.stack(each, axis=-1).astype(np.float32) for each in waves]


def two_scenes(first, second):
    """Pictures with a cut that is found: dark ones that grow brighter, then the waves."""
    return [np.full((HEIGHT, WIDTH, 3), n / 500, np.float32) for n in range(first)] + pictures(second)


def clip_of(given, rate=Fraction(24000, 1001), cuts=None, durations=None):
    """A clip of these pictures; where `cuts` is given, its frames have the properties of scene changes."""
    height, width = given[0].shape[:2]
    rate = Fraction(0) if durations else rate
    blank = vs.core.std.BlankClip(
        format=vs.RGBS, width=width, height=height, length=len(given), fpsnum=rate.numerator, fpsden=rate.denominator
    )

    def filled(n, f):
        new = f.copy()
        for plane in range(3):
            np.asarray(new[plane])[...] = given[n][..., plane]
        if cuts is not None:
            new.props["_SceneChangePrev"], new.props["_SceneChangeNext"] = int(n in cuts), int(n + 1 in cuts)
        if durations:
            new.props["_DurationNum"], new.props["_DurationDen"] = durations[n].numerator, durations[n].denominator
        return new

    return blank.std.ModifyFrame(blank, filled)


def picture(clip, number):
    with clip.get_frame(number) as frame:
        return np.stack([np.asarray(frame[plane]).copy() for plane in range(3)], axis=-1)


CALLS = {"denoise": {"sigma": 100}, "deblock": {}, "upscale": {}, "interpolate": {"times": 3}}


@pytest.mark.parametrize("verb", CALLS)
def test_pixels_are_those_of_a_stream(restorers, verb):
    given = two_scenes(5, 6)
    rate = {"input_fps": 24} if verb == "interpolate" else {}
    wanted = list(getattr(refilm.stream, verb)(given, **CALLS[verb], **rate))
    wanted = [each[1] for each in wanted] if rate else wanted
    clip = getattr(filters, verb)(clip_of(given, Fraction(24)), **CALLS[verb])
    assert len(clip) == CALLS[verb].get("times", 1) * len(given)
    for number, each in enumerate(wanted):
        assert np.array_equal(picture(clip, number), each), number
    for number in range(len(wanted), len(clip)):
        assert np.array_equal(picture(clip, number), given[-1])


@pytest.mark.parametrize("verb", CALLS)
def test_any_order_gives_the_same_pixels(restorers, verb):
    given = two_scenes(20, 16)
    in_order, jumping = (getattr(filters, verb)(clip_of(given), **CALLS[verb]) for _ in range(2))
    wanted = [picture(in_order, number) for number in range(len(in_order))]
    numbers = np.random.default_rng(0).permutation(len(wanted))[:25]
    for number in (*numbers, *reversed(range(len(wanted) - 10, len(wanted)))):
        assert np.array_equal(picture(jumping, int(number)), wanted[number]), number


@pytest.mark.parametrize("threads", [1, 4])
def test_many_frames_at_once_give_the_same(restorers, threads, monkeypatch):
    monkeypatch.setattr(vs.core, "num_threads", threads)
    clip = filters.interpolate(filters.denoise(clip_of(pictures(10)), sigma=100), times=2)
    wanted = [picture(clip, number) for number in range(len(clip))]
    again = filters.interpolate(filters.denoise(clip_of(pictures(10)), sigma=100), times=2)
    waiting = [again.get_frame_async(number) for number in range(len(again))]
    for each, future in zip(wanted, waiting, strict=True):
        with future.result(timeout=60) as frame:
            assert np.array_equal(np.asarray(frame[1]), each[..., 1])


def test_a_model_is_run_once_for_each_frame_and_after_a_jump_for_the_wanted_one_alone(restorers, monkeypatch):
    from restorers import Soften

    shown, network = [], Soften.network
    monkeypatch.setattr(Soften, "network", lambda self, *given, **own: shown.append(1) or network(self, *given, **own))
    in_order, jumping = (filters.denoise(clip_of(pictures(20)), sigma=100) for _ in range(2))
    for number in range(20):
        picture(in_order, number)
    assert len(shown) == 20
    for number in (17, 3):
        picture(jumping, number)
    assert len(shown) == 22


def test_a_model_with_a_state_begins_anew_every_32_frames(monkeypatch):
    """Its frames are then those of a stream that begins with a segment, in any order."""
    from toys.counter import Counter

    from refilm.models import MODELS, Model

    monkeypatch.setitem(MODELS, "counter", Model("denoising", lambda: (Counter, None), learned=False))
    given = [np.zeros((8, 8, 3), np.float32)] * 70
    own = {"model": "counter", "strength": 1}
    wanted = [each[0, 0, 0] for _ in range(3) for each in refilm.stream.denoise(given[:32], **own)][:70]
    assert len({float(each) for each in wanted}) == 32
    clip = filters.denoise(clip_of(given), **own)
    for number in (*range(70), 40, 33, 69, 5, 64):
        assert picture(clip, number)[0, 0, 0] == wanted[number]


@pytest.mark.parametrize(("verb", "model"), [("denoise", "vdn-ls3d-small"), ("interpolate", "vi-ls3d-flow")])
def test_models_that_ship_give_what_a_stream_gives(verb, model):
    given = pictures(6)
    wanted = list(getattr(refilm.stream, verb)(zip(map(Fraction, range(6)), given, strict=True), model=model))
    clip = getattr(filters, verb)(clip_of(given, Fraction(1)), model=model)
    for number in (4, 0, 1, 2, 3, 5):
        assert np.array_equal(picture(clip, number), wanted[number][1]), number


def test_a_scene_is_what_the_properties_say(restorers):
    given = pictures(8)  # moves evenly, so that no cut would be found
    stretches = [list(refilm.stream.denoise(part, sigma=200)) for part in (given[:5], given[5:])]
    clip = filters.denoise(clip_of(given, cuts={5}), sigma=200)
    for number, wanted in enumerate(stretches[0] + stretches[1]):
        assert np.array_equal(picture(clip, number), wanted)

    doubled = filters.interpolate(clip_of(given, cuts={5}))
    assert np.array_equal(picture(doubled, 9), given[5]), "the nearer frame is repeated"
    assert not np.array_equal(picture(doubled, 7), given[4])
    assert "_SceneChangePrev" not in doubled.get_frame(10).props
    mixed = filters.interpolate(clip_of(given, cuts={5}), scene_cuts=False)
    assert not np.array_equal(picture(mixed, 9), given[5])


def test_properties_that_deny_a_cut_win_over_what_is_seen(restorers):
    given = two_scenes(6, 6)
    seen, denied = (filters.interpolate(clip_of(given, cuts=cuts)) for cuts in (None, set()))
    assert np.array_equal(picture(seen, 11), given[6])
    assert not np.array_equal(picture(denied, 11), given[6])


@pytest.mark.parametrize(
    ("own", "rate", "count"),
    [
        ({}, Fraction(48000, 1001), 20),
        ({"times": 3}, Fraction(72000, 1001), 30),
        ({"fps": "60000/1001"}, Fraction(60000, 1001), 25),
        ({"fps": 12}, Fraction(12), 6),
    ],
)
def test_rates_and_durations_are_exact(restorers, own, rate, count):
    given = pictures(10)
    clip = filters.interpolate(clip_of(given), **own)
    assert (clip.fps, len(clip)) == (rate, count)
    properties = clip.get_frame(3).props
    assert Fraction(properties["_DurationNum"], properties["_DurationDen"]) == 1 / rate
    stream = list(refilm.stream.interpolate(given, **own, input_fps="24000/1001"))
    for number in (0, 2, len(stream) - 1, 3):
        assert stream[number][0] == number / rate
        assert np.array_equal(picture(clip, number), stream[number][1]), number


def test_a_variable_rate_stays_variable(restorers):
    durations = [Fraction(1, 30), Fraction(1, 20), Fraction(1, 30), Fraction(1, 24)]
    given = pictures(4)
    clip = filters.interpolate(clip_of(given, durations=durations), times=2)
    assert (clip.fps, len(clip)) == (0, 8)
    found = [Fraction(p["_DurationNum"], p["_DurationDen"]) for p in (frame.props for frame in clip.frames())]
    assert found == [duration / 2 for duration in durations for _ in range(2)]
    times = [sum(durations[:n], Fraction(0)) for n in range(4)]
    stream = list(refilm.stream.interpolate(zip(times, given, strict=True), times=2))
    for number in (3, 6, 0):
        assert np.array_equal(picture(clip, number), stream[number][1])
    with pytest.raises(vs.Error, match="fps needs a clip of constant frame rate; give times"):
        filters.interpolate(clip_of(given, durations=durations), fps=60)


def test_properties_of_the_source_stay(restorers):
    clip = clip_of(pictures(4)).std.SetFrameProps(_Primaries=9, maker="somebody", _AbsoluteTime=2.0)
    for filtered in (filters.denoise(clip), filters.interpolate(clip)):
        properties = filtered.get_frame(1).props
        assert (properties["_Primaries"], properties["maker"]) == (9, "somebody")
    assert properties["_AbsoluteTime"] == pytest.approx(2 + 1001 / 48000)


def blank(**own):
    return vs.core.std.BlankClip(**{"format": vs.RGBS, "width": 64, "height": 48, "length": 4} | own)


@pytest.mark.parametrize(
    ("verb", "given", "own", "message"),
    [
        ("denoise", lambda: "film.mkv", {}, "refilm: denoise: wanted a clip, a vs.VideoNode, got str"),
        ("deblock", lambda: blank(format=vs.YUV420P8), {}, r"wanted a clip in RGBS of one size, got YUV420P8; convert"),
        ("denoise", lambda: blank(varformat=True), {}, "got variable format"),
        ("denoise", lambda: blank(varsize=True), {}, "got variable size"),
        ("denoise", blank, {"sigmma": 20}, "no option 'sigmma'; did you mean 'sigma'"),
        ("denoise", blank, {"sigma": 0}, "above 0 and at most 255, got 0"),
        ("denoise", blank, {"model": "flow-blend"}, "flow-blend is a model for interpolation"),
        ("upscale", blank, {"scale": 3}, "by 2, not by 3"),
        ("interpolate", blank, {"times": 2, "fps": 60}, "times and fps exclude each other"),
        ("interpolate", blank, {"times": 1.5}, "times must be a whole number, got 1.5; --fps takes any rate"),
    ],
)
def test_what_is_wrong_is_told_at_the_call(restorers, verb, given, own, message):
    with pytest.raises(vs.Error, match=message):
        getattr(filters, verb)(given(), **own)


def test_interlaced_frames_are_refused_with_the_way_out(restorers):
    clip = filters.denoise(blank().std.SetFieldBased(2))
    with pytest.raises(vs.Error, match="picture 0 is interlaced, as _FieldBased says; deinterlace the clip before"):
        clip.get_frame(0)


def test_without_vapoursynth_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "vapoursynth", None)
    monkeypatch.delitem(sys.modules, "refilm.export.vapoursynth")
    with pytest.raises(refilm.RefilmError, match="VapourSynth is not installed: pip install vapoursynth"):
        import_module("refilm.export.vapoursynth")


def test_values_out_of_range_are_told_with_the_number_of_the_frame(restorers):
    given = pictures(5)
    given[3] = 255 * given[3]
    clip = filters.denoise(clip_of(given), sigma=100, scene_cuts=False)
    with pytest.raises(vs.Error, match=r"refilm: denoise: picture 3: wanted values in 0 ... 1, got .*; divide codes"):
        clip.get_frame(3)
    assert picture(clip, 0).shape == (HEIGHT, WIDTH, 3), "other frames are still made"
