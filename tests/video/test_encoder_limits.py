from __future__ import annotations

from pathlib import Path

import pytest

from refilm.errors import VideoError
from refilm.video.encoder_limits import check_size


@pytest.mark.parametrize(
    ("codec", "size", "output", "message", "other"),
    [
        (
            "libx264",
            (16386, 64),
            "o.mp4",
            "takes pictures of up to 16384x16384 pixels, got 16386x64",
            "libx265",
        ),
        ("libsvtav1", (64, 8706), "o.mkv", "up to 16384x8704 pixels, got 64x8706", "libx265"),
        ("libsvtav1", (70000, 64), "o.webm", "got 70000x64", "libvpx-vp9"),
    ],
)
def test_a_picture_too_large_for_an_encoder_is_refused_with_one_that_can(codec, size, output, message, other):
    with pytest.raises(VideoError, match=f"{message}; take a codec that can: --codec {other}"):
        check_size(codec, "yuv420p", *size, Path(output))
    check_size(other, "yuv420p", *size, Path(output))
