"""Frames in, frames out: the same results as jobs give, in the kind that came in."""

from __future__ import annotations

import gc
import weakref
from fractions import Fraction
from itertools import count, islice

import numpy as np
import pytest
import torch

import refilm
from refilm.stages.pictures import Form, SampleFrame
from refilm.video import Frame

SECOND = Fraction(1)
LOSSLESS = {"codec": "ffv1"}
CALLS = {
    "denoise": {"sigma": 100},
    "deblock": {},
    "upscale": {},
    "interpolate": {"times": 3},
}


def pictures(number: int, height: int = 40, width: int = 56, dtype: type = np.uint8) -> list[np.ndarray]:
    """Waves that move to the right: [height, width, 3] each."""
    y, x = np.mgrid[:height, :width]
    made = []
    for n in range(number):
        waves = [128 + 100 * np.sin(0.3 * (x - 2 * n) + 0.2 * y + phase) for phase in range(3)]
        codes = np.stack(waves, axis=-1).round().astype(np.uint8)
        made.append(codes if dtype is np.uint8 else (codes / 255).astype(dtype))
    return made


def planes(frames):
    return [(frame.time, [plane.tobytes() for plane in frame.planes]) for frame in frames]


@pytest.mark.parametrize("verb", CALLS)
def test_frames_of_a_film_become_what_a_job_writes(restorers, media, tmp_path, verb):
    source, output = media("two-scenes").path, tmp_path / "out.mkv"
    getattr(refilm, verb)(source, output, **CALLS[verb], **LOSSLESS)
    results = getattr(refilm.stream, verb)(refilm.open(source), **CALLS[verb])
    written = [(round(time * 1000), samples) for time, samples in planes(refilm.open(output))]
    assert [(round(time * 1000), samples) for time, samples in planes(results)] == written


@pytest.mark.parametrize("verb", CALLS)
def test_tensors_of_a_film_become_what_a_job_writes(restorers, media, tmp_path, verb):
    source, output = media("two-scenes").path, tmp_path / "out.mkv"
    getattr(refilm, verb)(source, output, **CALLS[verb], **LOSSLESS)
    frames = list(refilm.open(source))
    given = ((frame.time, frame.rgb.permute(1, 2, 0)) for frame in frames)
    results = [
        (round(time * 1000), frames[0].with_rgb(picture.permute(2, 0, 1)).planes)
        for time, picture in getattr(refilm.stream, verb)(given, **CALLS[verb])
    ]
    written = [(round(frame.time * 1000), frame.planes) for frame in refilm.open(output)]
    assert [time for time, _ in results] == [time for time, _ in written]
    for (_, ours), (_, theirs) in zip(results, written, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_arrays_and_tensors_come_back_as_what_they_were(restorers, dtype):
    arrays = pictures(5, dtype=dtype)
    as_arrays = list(refilm.stream.denoise(arrays))
    as_tensors = list(refilm.stream.denoise(map(torch.from_numpy, arrays)))
    assert [(type(a), a.dtype, a.shape) for a in as_arrays] == [(np.ndarray, dtype, (40, 56, 3))] * 5
    assert all(isinstance(tensor, torch.Tensor) and not tensor.is_inference() for tensor in as_tensors)
    assert all(np.array_equal(a, t.numpy()) for a, t in zip(as_arrays, as_tensors, strict=True))
    tolerance = 1 if dtype is np.uint8 else 1 / 255
    wanted = list(refilm.stream.denoise(pictures(5, dtype=np.float32)))
    for found, exact in zip(as_arrays, wanted, strict=True):
        scale = 255 if dtype is np.uint8 else 1
        assert np.abs(found.astype(np.float64) - scale * exact).max() <= tolerance


def test_the_program_may_use_its_memory_again(restorers):
    def camera():
        buffer = np.empty((40, 56, 3), np.uint8)
        for picture in pictures(6):
            buffer[:] = picture
            yield buffer

    for ours, theirs in zip(refilm.stream.deblock(camera()), refilm.stream.deblock(pictures(6)), strict=True):
        assert np.array_equal(ours, theirs)


def test_channels_and_strides_of_any_order_are_taken(restorers):
    bgr = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures(3)]
    given = [picture[..., ::-1] for picture in bgr]
    for ours, theirs in zip(refilm.stream.denoise(given), refilm.stream.denoise(pictures(3)), strict=True):
        assert np.array_equal(ours, theirs)


def test_times_are_exact(restorers):
    times = [time for time, _ in refilm.stream.interpolate(pictures(3), 4, input_fps="30000/1001")]
    assert times == [Fraction(1001 * n, 120000) for n in range(9)]
    uneven = [Fraction(0), Fraction(1, 30), Fraction(1, 12)]
    timed = list(zip(uneven, pictures(3), strict=True))
    assert [time for time, _ in refilm.stream.interpolate(timed)] == [0, *(Fraction(n, 120) for n in (2, 4, 7, 10))]
    assert [time for time, _ in refilm.stream.interpolate(timed, fps=60)] == [Fraction(n, 60) for n in range(8)]


def test_source_pictures_stay_what_they_are(restorers):
    given = pictures(3)
    found = dict(refilm.stream.interpolate(given, 2, input_fps=1))
    assert all(np.array_equal(found[Fraction(n)], picture) for n, picture in enumerate(given))


def test_scenes_are_not_mixed_unless_cuts_are_not_looked_for(restorers):
    dark, bright = np.zeros((64, 96, 3), np.uint8), pictures(6, 64, 96)
    given = [dark] * 6 + bright
    held = dict(refilm.stream.interpolate(given, 2, input_fps=1))
    assert np.array_equal(held[Fraction(11, 2)], bright[0])  # the nearer one, as the cut is there
    mixed = dict(refilm.stream.interpolate(given, 2, input_fps=1, scene_cuts=False))
    assert not np.array_equal(mixed[Fraction(11, 2)], bright[0])


def held_frames() -> int:
    gc.collect()
    return sum(type(each) in (Frame, SampleFrame) for each in gc.get_objects())


@pytest.mark.parametrize("verb", CALLS)
def test_an_endless_stream_is_read_a_few_pictures_ahead_and_can_be_left(restorers, verb):
    read, few, before = [], pictures(4), held_frames()

    def endless():
        for n in count():
            read.append(n)
            yield Fraction(n, 25), few[n % 4]

    results = getattr(refilm.stream, verb)(endless(), **CALLS[verb])
    made = CALLS[verb].get("times", 1)
    for number, _ in enumerate(islice(results, 24 * made)):
        assert len(read) - number / made <= 12
    assert before < held_frames() <= before + 14
    results.close()
    assert held_frames() == before
    assert next(results, None) is None


def test_dropping_the_generator_ends_the_reading_of_the_film(restorers, media):
    film = refilm.open(media("two-scenes").path)
    gone = weakref.ref(film)
    results = refilm.stream.denoise(film)
    next(results)
    del film, results
    gc.collect()
    assert gone() is None


def spoilt(picture, value):
    picture = picture.copy()
    picture[3, 5, 1] = value
    return picture


FLOATS = pictures(2, dtype=np.float32)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([], ValueError, "the stream is empty: wanted at least one picture"),
        (["in.mp4"], TypeError, r"picture 0: wanted a numpy array or a torch tensor \[H, W, 3\].* got str"),
        ([np.zeros((3, 8, 8), np.uint8)], ValueError, r"wanted \[H, W, 3\], RGB, got \[3, 8, 8\]; move the channels"),
        ([np.zeros((8, 8), np.uint8)], ValueError, r"wanted \[H, W, 3\], RGB, got \[8, 8\]"),
        ([np.zeros((8, 8, 4), np.uint8)], ValueError, r"wanted \[H, W, 3\], RGB, got \[8, 8, 4\]"),
        ([np.zeros((0, 8, 3), np.uint8)], ValueError, r"got \[0, 8, 3\]"),
        ([np.zeros((8, 8, 3), np.uint16)], TypeError, "wanted uint8, 0 ... 255, or a floating point type.* got uint16"),
        ([torch.zeros(8, 8, 3, dtype=torch.int64)], TypeError, "picture 0: .* got torch.int64"),
        ([FLOATS[0], spoilt(FLOATS[0], np.nan)], ValueError, "picture 1: holds values that are not finite"),
        ([255 * FLOATS[0]], ValueError, r"picture 0: wanted values in 0 ... 1, got .* ... \d+; divide codes"),
        (
            [FLOATS[0], FLOATS[0][:8]],
            ValueError,
            r"picture 1: all .* alike, got array \[8, 56, 3\] of float32",
        ),
        (
            [FLOATS[0], pictures(1)[0]],
            ValueError,
            "picture 1: all pictures .* are alike, got .* of uint8 after",
        ),
        ([FLOATS[0], torch.from_numpy(FLOATS[0])], ValueError, "picture 1: .* got tensor"),
        ([(0, FLOATS[0]), FLOATS[0]], ValueError, r"picture 1: .* after \(time, picture\), array"),
        ([(0.5, FLOATS[0])], TypeError, r"picture 0: times are exact, a Fraction in seconds .* got float 0.5"),
        ([(1, FLOATS[0]), (1, FLOATS[0])], ValueError, "picture 1: times must rise, got 1 after 1"),
    ],
)
def test_a_wrong_picture_is_named_with_its_number(restorers, given, error, message):
    with pytest.raises(error, match=message):
        list(refilm.stream.denoise(given))


def test_interpolation_asks_for_times(restorers):
    with pytest.raises(ValueError, match=r"needs times: give pairs .time, picture., or input_fps"):
        next(refilm.stream.interpolate(pictures(2)))


@pytest.mark.parametrize(
    ("verb", "keywords", "error", "message"),
    [
        ("denoise", {"sigmma": 20}, TypeError, "no option 'sigmma'; did you mean 'sigma'"),
        ("denoise", {"codec": "ffv1"}, TypeError, "no option 'codec'"),
        ("denoise", {"sigma": 0}, ValueError, "above 0 and at most 255, got 0"),
        ("denoise", {"model": "flow-blend"}, ValueError, "flow-blend is a model for interpolation"),
        ("denoise", {"device": "gpu0"}, ValueError, "no device is called 'gpu0'"),
        ("upscale", {"scale": 3}, ValueError, "by 2, not by 3"),
        ("interpolate", {"times": 2, "fps": 60}, ValueError, "times and fps exclude each other"),
        ("interpolate", {"tile": 32}, ValueError, "needs the whole picture at once"),
    ],
)
def test_wrong_options_are_told_at_the_call(restorers, verb, keywords, error, message):
    with pytest.raises(error, match=message):
        getattr(refilm.stream, verb)([], **keywords)


def test_tiles_give_the_same(restorers):
    whole, tiled = (list(refilm.stream.denoise(pictures(3), tile=tile)) for tile in (None, 16))
    assert all(np.array_equal(a, b) for a, b in zip(whole, tiled, strict=True))


def test_a_picture_survives_the_way_through_a_frame():
    for picture in (pictures(1)[0], *pictures(1, dtype=np.float32), torch.rand(8, 9, 3)):
        form = Form.of(picture, 0)
        (frame,) = form.frames([picture], SECOND, SECOND)
        assert (form.item(frame.with_rgb(frame.rgb), False) == picture).all()


@pytest.fixture
def shade(monkeypatch):
    from toys.shade import ROW

    from refilm.models import MODELS

    monkeypatch.setitem(MODELS, "shade", ROW)
    return {"model": "shade"}


@pytest.mark.parametrize("own", [{}, {"shots": True}, {"every": "0.4", "topk": 2}])
def test_events_of_a_stream_are_those_of_a_film(shade, media, own):
    source = media("two-scenes").path
    assert list(refilm.stream.recognize(refilm.open(source), **own, **shade)) == refilm.recognize(
        source, **own, **shade
    )


def test_events_are_told_as_soon_as_they_are_complete(shade):
    read = []

    def given():
        for number, picture in enumerate(pictures(75)):
            read.append(number)
            yield picture

    events = refilm.stream.recognize(given(), input_fps=25, **shade)
    assert (next(events).end, len(read)) == (1, 25 + 13), "half a second later, since a rest would belong to it"
    assert [(event.start, event.end) for event in events] == [(1, 2), (2, 3)]


def test_pictures_to_be_recognised_need_times(shade):
    with pytest.raises(ValueError, match="recognition needs times: give pairs"):
        list(refilm.stream.recognize(pictures(3), **shade))
    with pytest.raises(ValueError, match="flow-blend is a model for interpolation"):
        refilm.stream.recognize(pictures(3), model="flow-blend")
    with pytest.raises(TypeError, match="recognize"):
        refilm.stream.recognize(pictures(3), tile=5, **shade)
    timed = [(Fraction(n, 10), picture) for n, picture in enumerate(pictures(20))]
    assert [event.end for event in refilm.stream.recognize(timed, **shade)] == [1, 2]
