"""What the FFmpeg inside PyAV offers, and the command `ffmpeg` for what PyAV lacks or cannot be told."""

from __future__ import annotations

import shutil
import subprocess

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from refilm.errors import RefilmError


def pyav_version() -> str:
    return av.__version__


def library_versions() -> dict[str, str]:
    """Version by the name of FFmpeg's library, such as libavcodec."""
    return {name: ".".join(map(str, number)) for name, number in av.library_versions.items()}


def has_encoder(name: str) -> bool:
    """Whether this FFmpeg is built with an encoder; it may still want hardware that is not there."""
    try:
        Codec(name, "w")
    except UnknownCodecError:
        return False
    return True


def run_ffmpeg(arguments: list[str], given: bytes) -> bytes:
    """What `ffmpeg ARGUMENTS` writes to its standard output, when `given` is on its standard input.

    Raises RefilmError where the command is not installed or fails.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise RefilmError("the command ffmpeg is not installed, and PyAV cannot do this alone; install ffmpeg")
    done = subprocess.run(
        [program, "-hide_banner", "-loglevel", "error", *arguments], input=given, capture_output=True, check=False
    )
    if done.returncode:
        raise RefilmError(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
