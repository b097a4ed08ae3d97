"""What an encoder says of settings that it refuses."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest

from refilm.errors import VideoError
from refilm.video.encoder import EncoderSettings, add_video_stream
from refilm.video.encoder_log import refusals_told
from refilm.video.tags import ColourTags


def settings(codec, options, size=(96, 64)):
    return EncoderSettings(
        codec, "yuv420p", *size, Fraction(1, 25), Fraction(25), Fraction(1), ColourTags(), threads=1, options=options
    )


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (settings("libx265", {"crf": "99"}), "libx265 refuses 96x64 yuv420p crf=99: Valid quality based range: -qpB"),
        (settings("libsvtav1", {}, (96, 9000)), "libsvtav1 refuses 96x9000 yuv420p: Source Height must be less than "),
        (settings("mpeg4", {}, (9000, 64)), "mpeg4 refuses 9000x64 yuv420p: dimensions too large for MPEG-4; take "),
    ],
)
def test_the_words_of_an_encoder_are_told_instead_of_printed(tmp_path, capfd, chosen, message):
    with av.open(str(tmp_path / "out.mkv"), "w") as output:
        stream = add_video_stream(output, chosen)
        with pytest.raises(VideoError) as caught, refusals_told(chosen):
            stream.codec_context.open(strict=False)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400
    assert capfd.readouterr().err == ""
