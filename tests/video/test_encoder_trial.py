"""Which encoders work here."""

from __future__ import annotations

from fractions import Fraction

import pytest
from av.codec import Codec

from refilm.errors import VideoError
from refilm.video import encoder_trial
from refilm.video.encoder import EncoderSettings
from refilm.video.encoder_trial import hardware_encoders, try_encoders
from refilm.video.tags import ColourTags
from refilm.video.trial import holds_codec


def test_what_works_and_what_does_not_are_told_apart():
    # one needs no hardware; another encodes what refilm does not make; another takes no picture of this size
    states = try_encoders(["libx264", "hdr", "h261"])
    assert states["libx264"] == "works"
    assert states["hdr"].startswith("does not open: hdr encodes gbrpf32le only")
    assert states["h261"].startswith("does not open: The specified picture size of 320x256 is not valid")


def test_an_encoder_of_hardware_is_told_to_work_only_if_a_job_can_use_it():
    name = next(iter(hardware_encoders()), None)
    if name is None:
        pytest.skip("this FFmpeg has no encoder that needs hardware")
    assert Codec(name, "w").canonical_name in ("h264", "hevc", "av1")
    (state,) = try_encoders([name]).values()
    rate = Fraction(25)
    settings = EncoderSettings(name, "nv12", 320, 256, 1 / rate, rate, Fraction(1), ColourTags(), threads=1)
    try:
        is_usable = holds_codec("matroska", settings)
    except VideoError:
        is_usable = False
    assert (state == "works") == is_usable
    assert is_usable or len(state) > len("does not open: ")


def test_a_driver_that_hangs_or_crashes_takes_nothing_with_it(monkeypatch):
    monkeypatch.setattr(encoder_trial, "_START", "import os; os.abort()")
    assert try_encoders(["libx264"]) == {"libx264": "does not open: it crashes (SIGABRT)"}
    monkeypatch.setattr(encoder_trial, "_START", "import signal; signal.pause()")
    monkeypatch.setattr(encoder_trial, "PATIENCE", 0.1)
    assert try_encoders(["libx264"]) == {"libx264": "does not open: it hangs, and gave no picture within 0.1 s"}
