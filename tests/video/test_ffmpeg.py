import shutil

import pytest

from refilm.errors import RefilmError
from refilm.video.ffmpeg import has_encoder, library_versions, run_ffmpeg

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg command on this machine")


def test_the_build_is_described():
    assert has_encoder("ffv1")
    assert not has_encoder("no-such-encoder")
    assert all(part.isdigit() for part in library_versions()["libavcodec"].split("."))


@needs_ffmpeg
def test_the_command_gives_back_its_output_or_what_it_complains_of():
    layout = ["-f", "rawvideo", "-pixel_format", "gray", "-video_size", "4x2"]
    assert run_ffmpeg([*layout, "-i", "-", "-vf", "hflip", "-f", "rawvideo", "-"], bytes(range(8))) == bytes(
        [3, 2, 1, 0, 7, 6, 5, 4]
    )
    with pytest.raises(RefilmError, match=r"ffmpeg failed: .*jpeg2000"):
        run_ffmpeg(["-f", "jpeg2000", "-i", "-", "-"], b"")


def test_a_missing_command_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RefilmError, match=r"the command ffmpeg is not installed.*install ffmpeg"):
        run_ffmpeg([], b"")
