"""What an encoder says when it refuses its settings."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.error
from av.codec import Codec
from av.codec.codec import Capabilities

from refilm.errors import VideoError
from refilm.video.encoder import EncoderSettings

# Characters of an encoder's words that are told; some list all that they take.
_LONGEST = 240
# How FFmpeg, x265 and SVT-AV1 begin a line of their logs.
_SPEAKER = re.compile(r"^(\[[^]]* @ 0x[0-9a-f]+\]|x265 \[\w+\]:|Svt\[\w+\]:)\s*")


@contextmanager
def refusals_told(settings: EncoderSettings) -> Iterator[None]:
    """FFmpeg's errors in this context become a VideoError that says what the encoder said.

    It says so on the standard error of this process, which goes to a file meanwhile.
    """
    with tempfile.TemporaryFile() as log:
        terminal = os.dup(2)
        os.dup2(log.fileno(), 2)
        # not PyAV's callback, for which the threads of decoders would wait for the interpreter's lock
        av.logging.restore_default_callback()
        av.logging.set_libav_level(av.logging.ERROR)
        try:
            yield
        except av.error.FFmpegError as error:
            log.seek(0)
            raise VideoError(_refusal(settings, log.read().decode(errors="replace") or str(error.strerror))) from error
        finally:
            av.logging.set_level(None)
            os.dup2(terminal, 2)
            os.close(terminal)


def words_of(said: str) -> str:
    """FFmpeg's lines in one, each once, without the names of the speakers and not too long."""
    lines = dict.fromkeys(_SPEAKER.sub("", line).strip() for line in said.splitlines())
    words = "; ".join(filter(None, lines))
    if len(words) > _LONGEST:
        words = words[:_LONGEST].rpartition(" ")[0] + " ..."
    return words


def _refusal(settings: EncoderSettings, said: str) -> str:
    words = words_of(said)
    if Codec(settings.codec, "w").capabilities & (Capabilities.hardware | Capabilities.hybrid):
        return (
            f"{settings.codec} needs hardware or a driver that it does not find here ({words}); "
            "take an encoder that needs none: --codec libx264 or --codec libx265"
        )
    chosen = f"{settings.width}x{settings.height} {settings.format}"
    chosen += "".join(f" {key}={value}" for key, value in settings.options.items())
    return f"{settings.codec} refuses {chosen}: {words}; take other settings, or another --codec"
