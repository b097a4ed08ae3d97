"""Time code: the label of a film's first frame, as hours:minutes:seconds:frames, by SMPTE ST 12-1.

It counts frames at the nominal rate, such as 30 for 29.97 a second. So that 29.97 and 59.94 keep pace with the clock,
drop-frame time code, written with a semicolon, leaves out the numbers of two frames in 30 at the beginning of each
minute, but not of each tenth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, MutableMapping
from fractions import Fraction

# FFmpeg's key among a file's or a stream's metadata.
KEY = "timecode"
_TIME_CODE = re.compile(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)([:;.])(\d{2,3})", re.ASCII)
# QuickTime has one byte for the frames in a second.
_MOST = {"mp4": 255, "mov": 255}
# Rates may be rounded in containers. NTSC's differ from whole numbers by 1/1000.
_SAME = Fraction(1, 100_000)
_HOLDERS = ("mp4", "mov", "matroska", "webm", "nut")


def at_rate(text: str, rate: Fraction, new_rate: Fraction, later: int = 0) -> str | None:
    """The time code, of a film of `rate` frames a second, for the same moment at `new_rate`.

    later   frames of the film, at `rate`, after the one with the time code: the moment is that much later

    None if no frame of the new rate begins at that moment, or if only one of the rates keeps pace with the clock, so
    that seconds of the two are not the same. Raises ValueError if `text` is no time code at `rate`.
    """
    found = _TIME_CODE.fullmatch(text)
    nominal, new_nominal = round(rate), round(new_rate)
    is_drop = found is not None and found[4] != ":"
    if found is None or int(found[5]) >= nominal or (is_drop and nominal % 30):
        raise ValueError(f"{text!r} is no time code at {float(rate):.5g} frames a second")
    hours, minutes, seconds, frames = int(found[1]), int(found[2]), int(found[3]), int(found[5])
    minutes += 60 * hours
    number = (60 * minutes + seconds) * nominal + frames
    if is_drop:
        number -= _dropped(nominal) * (minutes - minutes // 10)
    number += later
    number %= 86400 * nominal - is_drop * _dropped(nominal) * 1296  # minutes of a day that drop numbers
    new_number = number * Fraction(new_nominal, nominal)
    keeps_seconds = abs(Fraction(new_nominal, nominal) / (new_rate / rate) - 1) < _SAME
    if not keeps_seconds or new_number.denominator != 1 or (is_drop and new_nominal % 30):
        return None
    return _written(int(new_number), new_nominal, is_drop)


def _dropped(nominal: int) -> int:
    """Numbers that are left out in a minute."""
    return nominal // 30 * 2


def _written(number: int, nominal: int, is_drop: bool) -> str:
    if is_drop:
        dropped = _dropped(nominal)
        in_minute = 60 * nominal - dropped  # frames in each minute but every tenth, which has more of them
        tens, rest = divmod(number, 10 * in_minute + dropped)
        number += 9 * dropped * tens + dropped * max(0, (rest - dropped) // in_minute)
    seconds, frames = divmod(number, nominal)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{':;'[is_drop]}{frames:02}"


def carry(
    described: Iterable[MutableMapping[str, str]],
    rate: Fraction,
    new_rate: Fraction,
    format_name: str,
    warn: Callable[[str], None],
    later: int = 0,
) -> None:
    """Give the time codes among the metadata of an output its frame rate, or leave them out and say why.

    later   as for `at_rate`
    """
    told = {}
    for metadata in described:
        for key in [key for key in metadata if key.lower() == KEY]:
            text = metadata.pop(key)
            try:
                new = at_rate(text, rate, new_rate, later)
                reason = f"that moment has no exact time code at {float(new_rate):.5g} frames a second"
            except ValueError as error:
                new, reason = None, str(error)
            if format_name not in _HOLDERS:
                new, reason = None, f"{format_name} has no place for it"
            elif round(new_rate) > _MOST.get(format_name, round(new_rate)):
                new, reason = None, f"{format_name} counts at most {_MOST[format_name]} frames a second"
            if new is None:
                told[text] = reason
            else:
                metadata[KEY] = new
    for text, reason in told.items():
        warn(f"the time code of the source, {text}, is left out: {reason}")
