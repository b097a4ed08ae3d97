from __future__ import annotations

from fractions import Fraction

import pytest
from frames import level, stream
from stages.test_stage import STAGES, lean, restore, run

from refilm.jobs.segments import SegmentEnd, first_frame, run_segments
from refilm.stages.stage import Chain


def collected(results):
    frames, ends = [], []
    for item in results:
        (ends if isinstance(item, SegmentEnd) else frames).append(item)
    return [(frame.time, level(frame), frame.duration) for frame in frames], ends


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("count", [1, 2, 5, 6, 10, 11, 13])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_segments_together_equal_the_whole_stream_at_once(name, count, length):
    whole = [(frame.time, level(frame), frame.duration) for frame in run(STAGES[name](), stream(count, cuts=[4]))]
    frames, ends = collected(run_segments(iter(stream(count, cuts=[4])), STAGES[name], length))
    assert frames == whole
    assert sum(end.frames_in for end in ends) == count
    assert [end.next_start is None for end in ends] == [False] * (len(ends) - 1) + [True]
    assert ends[-1].end_time == Fraction(count, 25)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("lead", [0, 1, 3])
def test_starting_at_any_segment_gives_the_same_rest(name, lead):
    count, length = 17, 4
    whole, ends = collected(run_segments(iter(stream(count)), STAGES[name], length, lead))
    for number, end in enumerate(ends[:-1], start=1):
        start = end.next_start
        assert start.index == first_frame(number, length, STAGES[name]().past + lead)
        rest, _ = collected(run_segments(iter(stream(count)[start.index :]), STAGES[name], length, lead, first=number))
        assert rest == whole[-len(rest) :]
        assert rest[0][0] == Fraction(number * length, 25) or "fps" in name


def test_reads_no_further_ahead_than_the_context():
    read = []

    def counted():
        for frame in stream(100):
            read.append(frame)
            yield frame

    results = run_segments(counted(), STAGES["times"], length=10)
    next(results)
    assert len(read) <= 2


def test_frames_that_are_mere_context_are_not_made_for_nobody():
    calls = []

    def counted(clip):
        calls.append(1)
        return lean(clip)

    frames, _ = collected(run_segments(iter(stream(24)), lambda: restore(counted, 3), length=4))
    assert len(frames) == len(calls) == 24
    calls.clear()
    chain = collected(run_segments(iter(stream(24)), lambda: Chain([restore(counted, 2), restore(lean, 1)]), length=4))
    assert len(chain[0]) == 24
    assert len(calls) == 24 + 2 * 5, "one frame of context for the second stage on each side of a border"
