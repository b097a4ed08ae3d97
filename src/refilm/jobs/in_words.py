"""Figures in words, for messages. Loads nothing, so that the command can show something at once."""

from __future__ import annotations

from fractions import Fraction


def rough_time(seconds: float) -> str:
    """A rough length of time, such as "about 40 s", "about 12 min" or "about 3.5 h"."""
    if seconds < 99.5:
        return f"about {max(seconds, 1):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5970 else f"about {seconds / 3600:.1f} h"


def clock(time: Fraction) -> str:
    """A time in a film, such as 0:01:02.5."""
    tenths = round(10 * time)
    return f"{tenths // 36000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"
