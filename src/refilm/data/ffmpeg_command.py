"""The command `ffmpeg`, for the little that PyAV's build of FFmpeg lacks or cannot be told."""

from __future__ import annotations

import shutil
import subprocess

from refilm.errors import RefilmError


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
