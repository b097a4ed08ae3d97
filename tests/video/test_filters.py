import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from frames import level, stream

from refilm.video.filters import filtered

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg command on this machine")


@needs_ffmpeg
@pytest.mark.parametrize("in_pyav", [True, False])
def test_a_filter_is_the_same_by_either_way(monkeypatch, in_pyav):
    if not in_pyav:
        monkeypatch.setattr(av.filter, "filters_available", set())
    frames = stream(5)
    inverted = list(filtered(iter(frames), "lutyuv", "y=255-val"))
    assert [level(frame) for frame in inverted] == [255 - level(frame) for frame in frames]
    assert [frame.time for frame in inverted] == [frame.time for frame in frames]
    for frame in inverted:
        np.testing.assert_array_equal(frame.planes[1], frames[0].planes[1])


def test_a_filter_may_change_size_and_number():
    frames = list(filtered(stream(4), "scale", "w=2*iw:h=2*ih"))
    assert [(frame.height, frame.width) for frame in frames] == [(16, 24)] * 4
    assert len(list(filtered(stream(4, rate=Fraction(1)), "fps", "fps=2"))) > 4


def test_a_filter_that_is_nowhere_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LookupError, match="built without no-such-filter, and the command ffmpeg is not installed"):
        list(filtered(stream(1), "no-such-filter", ""))
