"""One offset for all streams where a clock jumps. The packets are stand-ins with nothing but their stamps."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice, pairwise
from types import SimpleNamespace

import av.error
import pytest
from av.format import Flags

from refilm.video.clock import Clock

PICTURES, SOUND, TITLES = range(3)
KINDS = ("video", "audio", "subtitle")
STEP = {PICTURES: 40, SOUND: 24, TITLES: 1000}  # of a packet, in milliseconds


def container(may_jump=True):
    streams = [
        SimpleNamespace(index=index, type=kind, time_base=Fraction(1, 1000), disposition=0)
        for index, kind in enumerate(KINDS)
    ]
    return SimpleNamespace(streams=streams, format=SimpleNamespace(flags=(Flags.ts_discont if may_jump else 0)))


def part(start, streams=(PICTURES, SOUND), late=0, **lengths):
    """Packets of a recording that begins at `start`, in the order of their times; `late`: pictures come so much later.

    lengths   milliseconds of each stream, by its kind
    """
    packets = []
    for stream in streams:
        begin = start + late * (stream == PICTURES)
        for time in range(begin, begin + lengths.get(KINDS[stream], 2000), STEP[stream]):
            packets.append(SimpleNamespace(stream_index=stream, pts=time, dts=time, duration=STEP[stream]))
    for packet in packets:
        packet.own, packet.size, packet.is_discard = packet.pts, 1, False
    return sorted(packets, key=lambda packet: packet.pts)


def corrected(*parts, may_jump=True):
    """-> (the clock, by stream what was added to each packet, by stream its times)"""
    clock = Clock(container(may_jump))
    packets = list(clock.corrected(iter([packet for each in parts for packet in each])))
    assert len(packets) == sum(map(len, parts))
    moved = {index: [p.pts - p.own for p in packets if p.stream_index == index and p.pts is not None] for index in STEP}
    times = {index: [p.pts for p in packets if p.stream_index == index] for index in STEP}
    return clock, moved, times


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"video": 1000}, {"video": 1000}),
        ({"audio": 1000}, {"audio": 1000}),
        ({"video": 400}, {}),
        ({"audio": 400}, {"video": 400}),
        ({}, {"start": 7_000_000}),
        ({"start": 7_000_000}, {"late": 300}),
    ],
)
def test_joined_recordings_follow_each_other_and_keep_sound_and_picture_together(first, second):
    parts = [part(each.pop("start", 0), **each) for each in (dict(first), dict(second))]
    clock, moved, times = corrected(*parts)
    assert clock.jumps == 1
    offsets = {index: sorted(set(moved[index])) for index in (PICTURES, SOUND)}
    assert offsets[PICTURES] == offsets[SOUND]
    assert len(offsets[PICTURES]) == 2
    for stream in (PICTURES, SOUND):
        assert all(earlier < later for earlier, later in pairwise(times[stream]))
    # no part overlaps the one before, and nothing but what one stream lacks lies between them
    gaps = [
        later - earlier - STEP[stream] for stream in (PICTURES, SOUND) for earlier, later in pairwise(times[stream])
    ]
    assert min(gaps) == 0


def test_packets_that_come_after_those_of_the_next_part_keep_their_place():
    first, second = part(0), part(0)
    late = next(packet for packet in reversed(first) if packet.stream_index == PICTURES)
    first.remove(late)
    opening = [packet for packet in second if packet.stream_index == SOUND][:3]
    rest = [packet for packet in second if not any(packet is each for each in opening)]
    _, moved, times = corrected(first, opening, [late], rest)
    assert moved[PICTURES] == [0] * 50 + [2016] * 50
    assert times[PICTURES] == sorted(times[PICTURES])


def test_subtitles_go_with_the_others_though_they_show_nothing_at_the_jump():
    everything = (PICTURES, SOUND, TITLES)
    _, moved, _ = corrected(part(0, everything, subtitle=1), part(0), part(2016, everything, subtitle=1))
    assert moved[TITLES] == [0, 2016]


def test_a_clock_may_wrap_more_than_once():
    clock, moved, _ = corrected(*[part(start) for start in (90_000_000, 0, 90_000_000, 5)])
    assert clock.jumps == 3
    assert sorted(set(moved[SOUND])) == sorted(set(moved[PICTURES]))


def test_a_stream_that_jumps_while_the_others_go_on_is_moved_alone():
    sound = part(0, (SOUND,), audio=4800) + part(1000, (SOUND,), audio=4800)
    pictures = part(0, (PICTURES,), video=9600)
    for place, packet in enumerate(sound):
        packet.place = place * 24
    together = sorted([*sound, *pictures], key=lambda packet: getattr(packet, "place", packet.pts))
    clock, moved, _ = corrected(together)
    assert clock.jumps == 1
    assert set(moved[PICTURES]) == {0}
    assert moved[SOUND] == [0] * 200 + [3800] * 200


@pytest.mark.parametrize("off", [-60_000, -3000, 3000, 60_000])
@pytest.mark.parametrize("stream", [PICTURES, SOUND])
def test_one_wrong_stamp_moves_nothing_else(stream, off):
    packets = part(0)
    wrong = [packet for packet in packets if packet.stream_index == stream][20]
    wrong.pts = wrong.dts = wrong.pts + off
    clock, _, times = corrected(packets)
    assert clock.jumps == 0
    wanted = [None if stream == PICTURES and n == 20 else n * STEP[stream] for n in range(len(times[stream]))]
    assert times[stream] == wanted


def test_a_pause_is_no_jump_where_a_format_has_one_clock():
    parts = part(0), part(14_000)
    assert corrected(*parts, may_jump=False)[0].jumps == 0
    assert corrected(part(0), part(9000))[0].jumps == 0
    clock, moved, _ = corrected(part(0), part(14_000))
    assert clock.jumps == 1
    assert set(moved[SOUND]) == {0, 2016 - 14_000}


def test_hidden_packets_are_no_jump():
    packets = part(0)
    hidden = part(-30_000, (PICTURES,))
    for packet in hidden:
        packet.is_discard = True
    clock, moved, _ = corrected(packets[:50], hidden, packets[50:])
    assert clock.jumps == 0
    assert {*moved[PICTURES], *moved[SOUND]} == {0}


def test_what_was_read_before_an_error_is_given_before_it_is_raised():
    def damaged():
        yield from [*part(0), *part(0)[:9]]
        raise av.error.InvalidDataError(1, "damaged")

    packets = Clock(container()).corrected(damaged())
    assert len(list(islice(packets, len(part(0)) + 9))) == len(part(0)) + 9
    with pytest.raises(av.error.InvalidDataError):
        next(packets)
