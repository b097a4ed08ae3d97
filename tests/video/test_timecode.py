from __future__ import annotations

from fractions import Fraction

import pytest

from refilm.video.timecode import at_rate, carry

FILM, NTSC = Fraction(24000, 1001), Fraction(30000, 1001)


def drop_frame(nominal, minutes):
    """The drop-frame time codes of the first minutes, one a frame, as ST 12-1 defines them."""
    labels = []
    for minute in range(minutes):
        for number in range(60 * nominal):
            second, frame = divmod(number, nominal)
            if second or frame >= nominal // 15 or minute % 10 == 0:
                labels.append(f"00:{minute:02}:{second:02};{frame:02}")
    return labels


@pytest.mark.parametrize("times", [2, 4])
def test_drop_frame_time_codes_of_the_same_frames_are_the_same(times):
    old, new = drop_frame(30, 21), drop_frame(30 * times, 21)
    assert [at_rate(label, NTSC, times * NTSC) for label in old] == new[::times]
    back = [at_rate(label, times * NTSC, NTSC) for label in new[: 4000 * times]]
    assert back[::times] == old[:4000]
    assert set(back[1::times]) == {None}


@pytest.mark.parametrize(
    ("label", "rate", "new_rate", "expected"),
    [
        ("01:02:03:22", FILM, 4 * FILM, "01:02:03:88"),
        ("23:59:59:23", FILM, 2 * FILM, "23:59:59:46"),
        ("10:00:00:00", Fraction(25), Fraction(300), "10:00:00:00"),
        ("10:00:00:05", Fraction(25), Fraction(60), "10:00:00:12"),
        ("10:00:00:04", Fraction(25), Fraction(60), None),  # 9.6 frames
        ("10:00:00:00", FILM, Fraction(60), None),  # seconds of the time code are longer than those of the clock
        ("00:01:00;02", NTSC, Fraction(60), None),
        ("00:01:00;02", NTSC, FILM, None),  # drop-frame time code is not defined for it
        ("00:01:00:02", NTSC, 2 * NTSC, "00:01:00:04"),
    ],
)
def test_a_time_code_says_the_same_moment_at_the_new_rate_or_nothing(label, rate, new_rate, expected):
    assert at_rate(label, rate, new_rate) == expected


@pytest.mark.parametrize("label", ["237:117:238;251", "10:00:00:25", "24:00:00:00", "10:00:00;02", "10:00:00", "now"])
def test_what_is_no_time_code_is_not_taken_for_one(label):
    with pytest.raises(ValueError, match="is no time code at 25 frames a second"):
        at_rate(label, Fraction(25), Fraction(50))


def test_what_is_left_out_is_told_once():
    told, film, stream = [], {"title": "A", "timecode": "10:00:00:00"}, {"TIMECODE": "10:00:00:00"}
    carry((film, stream), Fraction(25), Fraction(300), "mov", told.append)
    assert (film, stream) == ({"title": "A"}, {})
    assert told == ["the time code of the source, 10:00:00:00, is left out: mov counts at most 255 frames a second"]
