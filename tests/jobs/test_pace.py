"""The time left is told from the recent course of a job, whatever the beginning was like."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pytest

from refilm.jobs.in_words import rough_time
from refilm.jobs.pace import Pace, what_is_kept
from refilm.jobs.trial import encoder_seconds, stage_seconds
from refilm.jobs.video_file import VideoFile
from refilm.options import Encoding
from refilm.stages.stage import Chain, StreamShape
from refilm.video import probe


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(frames, length, start_up, compute, encode=0.0, lookahead=0, expected=None):
    """What a job tells at each frame, and the seconds that then were really left.

    The encoder takes in `lookahead` frames at once, and works on them later; it is empty at the end of each segment.
    """
    clock = Clock()
    pace, told = Pace(frames, expected=expected, clock=clock), []
    clock.now += start_up
    for done in range(1, frames + 1):
        waits = (done - 1) % length < lookahead
        clock.now += compute if waits else max(compute, encode)
        number = (done - 1) % length + 1  # in its piece
        writing = max(number - lookahead, 0) * encode
        told.append((done, clock.now, pace.at(done, max(number - lookahead, 0) / number, writing).seconds_left))
        if done % length == 0 or done == frames:
            clock.now += min(lookahead, (done - 1) % length + 1) * encode
            pace.piece_ended(done)
    return [(done / frames, left, clock.now - then) for done, then, left in told]


def within(told, share, factor):
    _, left, truth = min(told, key=lambda entry: abs(entry[0] - share))
    return truth / factor <= left <= truth * factor


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("length", [16, 64])
def test_a_long_start_up_does_not_count(share, length):
    assert within(run(100, length, start_up=60, compute=1.4), share, 1.02)


@pytest.mark.parametrize("share", [0.11, 0.25, 0.5, 0.9])
def test_frames_that_wait_in_a_slow_encoder_do_not_look_done(share):
    assert within(run(640, 64, start_up=8, compute=0.02, encode=0.1, lookahead=40), share, 1.1)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_in_the_first_piece_what_leaves_the_encoder_tells(share):
    assert within(run(600, 600, start_up=8, compute=0.02, encode=0.1, lookahead=40), share, 1.1)


def test_before_there_are_frames_to_measure_the_trial_tells():
    assert run(100, 16, start_up=5, compute=2, expected=2.5)[0][1] == pytest.approx(99 * 2.5)
    assert run(100, 16, start_up=5, compute=2)[0][1] is None


def test_a_job_that_becomes_slower_is_told_so_by_its_latest_pieces():
    clock = Clock()
    pace = Pace(10_000, clock=clock)
    for done in range(1, 2001):
        clock.now += 0.1 if done <= 1000 else 1.0
        progress = pace.at(done)
        if done % 50 == 0:
            pace.piece_ended(done)
    assert progress.seconds_left == pytest.approx(8000, rel=0.05)


def test_frames_of_earlier_runs_are_not_counted_as_speed():
    clock = Clock()
    pace = Pace(300, resumed=100, clock=clock)
    pace.skip_to(100)
    for done in range(101, 151):
        clock.now += 2
        progress = pace.at(done)
    pace.piece_ended(150)
    pace.skip_to(250)  # pieces that another run had made
    assert progress.resumed_from == 100
    assert progress.frames_per_second == pytest.approx(0.5)
    clock.now += 2
    assert pace.at(251).seconds_left == pytest.approx(49 * 2)


def test_a_job_of_unknown_length_tells_its_speed_alone():
    clock = Clock()
    pace = Pace(None, clock=clock)
    for done in range(1, 5):
        clock.now += 0.5
        progress = pace.at(done)
    assert (progress.seconds_left, progress.frames_per_second) == (None, pytest.approx(2))


def test_what_is_kept_is_told_exactly():
    def kept(*numbers, **known):
        pieces = {number: SimpleNamespace(frames_in=16) for number in numbers}
        return what_is_kept(pieces, **({"total": 900, "length": 16, "frame_seconds": 2.0} | known))

    assert kept() == "stopped; nothing is kept yet; the first 16 frames take about 32 s"
    assert kept(total=10) == "stopped; nothing is kept yet; the first 10 frames take about 20 s"
    assert kept(frame_seconds=None) == "stopped; nothing is kept yet"
    assert kept(0, 1).startswith("stopped; kept the first 32 of 900 frames; run the same command again")
    assert kept(0, 2).startswith("stopped; kept 32 of 900 frames;")
    assert kept(0, total=None).startswith("stopped; kept the first 16 frames;")


def test_lengths_of_time_are_rough():
    told = [rough_time(seconds) for seconds in (0.2, 31.4, 99, 100, 3000, 9000)]
    assert told == ["about 1 s", "about 31 s", "about 99 s", "about 2 min", "about 50 min", "about 2.5 h"]


class Slow:
    """A stage that takes time in proportion to the pixels of what is asked for, by an artificial clock."""

    past, future, skip, keeps_rate, findings = 2, 1, 0, True, {}

    def __init__(self, clock):
        self._clock, self._fed = clock, 0

    def push(self, frame):
        self._fed += 1
        if self._fed - self.future > self.skip:
            first = self._fed == self.past + self.future + 1
            self._clock.now += frame.width * frame.height * (1e-4 if first else 1e-5)
            yield frame


def test_a_trial_on_small_pictures_tells_the_seconds_of_a_large_frame(media, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("refilm.jobs.trial.time.perf_counter", clock)
    source = replace(probe(media("cfr-24").path), width=1920, height=1080, frame_rate=Fraction(24))
    assert stage_seconds(lambda *_: Slow(clock), source) == pytest.approx(1920 * 1080 * 1e-5)
    assert stage_seconds(lambda *_: Chain(()), source) == 0


def test_a_trial_of_the_encoder_counts_pixels_and_the_frames_that_are_made_of_one(media, monkeypatch, tmp_path):
    clock = Clock()
    monkeypatch.setattr("refilm.jobs.trial.time.perf_counter", clock)
    source, written = probe(media("cfr-24").path), []

    class Timed:
        def write(self, frame):
            written.append(frame)
            clock.now += frame.width * frame.height * 1e-6

        def close(self):
            pass

    sink = VideoFile(tmp_path / "out.mp4", Encoding())
    shape = replace(StreamShape.of(source), width=1920, height=1080, frame_rate=2 * source.frame_rate)
    settings = sink.settings(source, shape, 1)
    monkeypatch.setattr(VideoFile, "writer", lambda *_: Timed())
    assert encoder_seconds(sink, settings, source) == pytest.approx(2 * 1920 * 1080 * 1e-6)
    assert written
    assert encoder_seconds(sink, None, source) == 0
