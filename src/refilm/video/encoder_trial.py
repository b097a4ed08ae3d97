"""Which encoders work on this machine, found out by encoding a small picture with each.

FFmpeg is built with encoders for hardware that may not be there. Trying one loads its driver, which may crash or hang,
so each is tried in a process of its own.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
from av.codec import Codec
from av.codec.codec import Capabilities, UnknownCodecError

from refilm.errors import VideoError
from refilm.video.encoder import EncoderSettings, add_video_stream, choose_pix_fmt
from refilm.video.encoder_log import words_of
from refilm.video.pixel_format import held_format
from refilm.video.tags import ColourTags

PATIENCE = 20  # seconds after which an encoder counts as hung; a driver may take a few to begin
# Pixels. Encoders in hardware take no pictures that are much smaller.
_WIDTH, _HEIGHT = 320, 256
# What people make films for; the hardware's further encoders are of older codecs, or of single pictures.
_MODERN = ("h264", "hevc", "av1")
_START = """
import sys
name, *sys.path = sys.argv[1:]
from refilm.video.encoder_trial import encode_one
encode_one(name)
"""


def hardware_encoders() -> list[str]:
    """The encoders of H.264, H.265 and AV1 in this FFmpeg that need hardware."""
    found = []
    for name in sorted(av.codecs_available):
        try:
            codec = Codec(name, "w")
        except UnknownCodecError:  # it only decodes
            continue
        if codec.canonical_name in _MODERN and codec.capabilities & (Capabilities.hardware | Capabilities.hybrid):
            found.append(name)
    return found


def try_encoders(names: Iterable[str]) -> dict[str, str]:
    """By the name of each encoder: "works", or why it does not, in its own words."""
    wanted = list(names)
    with ThreadPoolExecutor(os.cpu_count()) as trials:
        return dict(zip(wanted, trials.map(_try, wanted), strict=True))


def _try(name: str) -> str:
    command = [sys.executable, "-P", "-c", _START, name, *sys.path]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"does not open: it hangs, and gave no picture within {PATIENCE} s"
    if done.returncode == 0:
        return "works"
    if done.returncode < 0:
        return f"does not open: it crashes ({signal.Signals(-done.returncode).name})"
    said = done.stderr or done.stdout
    return f"does not open: {words_of(said.decode(errors='replace'))}"


def encode_one(name: str) -> None:
    """Encode one picture. If that fails, this process ends with what FFmpeg says on standard error, or else an error
    on standard output.
    """
    # not PyAV's callback, which FFmpeg's words would not get through in time
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)
    try:
        pix_fmt = choose_pix_fmt(name, held_format("yuv420p"), None)
        rate = Fraction(25)
        settings = EncoderSettings(name, pix_fmt, _WIDTH, _HEIGHT, 1 / rate, rate, Fraction(1), ColourTags(), threads=1)
        with av.open(io.BytesIO(), "w", format="null") as container:
            stream = add_video_stream(container, settings)
            stream.codec_context.open(strict=False)
            picture = av.VideoFrame(_WIDTH, _HEIGHT, pix_fmt)
            picture.pts, picture.time_base = 0, settings.time_base
            made = [*stream.encode(picture), *stream.encode(None)]
        if not made:
            raise VideoError("it gives no packet for a picture")
    except (VideoError, ValueError, av.FFmpegError) as error:
        print(error)
        sys.exit(1)
