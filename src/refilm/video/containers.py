"""Opening untrusted files: local files only, and errors in the user's words."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer

from refilm.errors import VideoError
from refilm.video.handles import is_pipe
from refilm.video.picture_sequence import PictureSequence

# Larger pictures are not decoded; 16K video has 133 million pixels. A damaged header may declare any size, and FFmpeg
# takes the memory for it.
MAX_PIXELS = 1 << 27
# Formats that open other files, or the screen and cameras. image2 is one, as it takes a "%d" in a name for other files.
_NOT_OPENED = {
    "hls", "concat", "dash", "imf", "sdp", "rtp", "rtsp", "sap", "vobsub", "webm_dash_manifest", "alias_pix",
    "brender_pix", "image2", "lavfi", "alsa", "fbdev", "kmsgrab", "oss", "video4linux2,v4l2", "x11grab",
}  # fmt: skip
_FORMATS = ",".join(sorted(av.formats_available - _NOT_OPENED))
_FROM_PIPE = "cannot be read (of a pipe, only formats that FFmpeg reads from front to back)"
_ANIMATED = 2  # a flag in the header of an extended WebP file
_LISTS = (b"#EXTM3U", b"ffconcat version", b"<MPD", b"<?xml", b"v=0")  # how files that name others begin

# PyAV's logging stays off, as is its default: with any level set, decoder threads take the interpreter lock to log, and
# a codec that is freed while they wait for it hangs.


# For callers that still hold a sequence as a path.
@contextmanager
def open_input(path: Path, rate: Fraction | None = None, handle: int | None = None) -> Iterator[InputContainer]:
    """A file or picture sequence, opened for reading; VideoError says what is wrong with it.

    rate     frames a second of a picture sequence (files have their own clock)
    handle   of an open file or pipe that is read instead; `path` is then its name in messages
    """
    options = {"protocol_whitelist": "file"}
    with translated(path, "cannot be read" if handle is None else _FROM_PIPE):
        if handle is not None:
            protocol, place = ("pipe", handle) if is_pipe(handle) else ("file", f"/dev/fd/{handle}")
            options = {"protocol_whitelist": protocol, "format_whitelist": _FORMATS}
            container = av.open(f"{protocol}:{place}", options=options, metadata_errors="replace")
        elif (sequence := PictureSequence.of(path)) is not None:
            container = sequence.open(rate, options)
        else:
            check_readable(path)
            options["format_whitelist"] = _FORMATS
            # FFmpeg takes a name such as a.jpg for one of a sequence
            picture = "jpeg_pipe" if path.suffix.lower() in (".jpg", ".jpeg") and _is_jpeg(path) else None
            container = av.open(as_file(path), format=picture, options=options, metadata_errors="replace")
    with container:
        yield container


def _is_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"


def as_file(path: Path) -> str:
    """The path in FFmpeg's words: names such as "http:x.mp4" are not taken for a protocol."""
    return f"file:{path}"


def is_elsewhere(path: Path) -> bool:
    """Whether a path is no file of this machine's: an address such as http://host/name, or "-" for a standard stream.

    pathlib writes two slashes as one.
    """
    return not path.exists() and re.match(r"-$|[a-z][a-z0-9+.-]+:/", str(path), re.IGNORECASE) is not None


def check_readable(path: Path) -> None:
    if is_elsewhere(path):
        raise VideoError(f"{path}: refilm reads files, not addresses or standard input; save it to a file first")
    if not path.exists():
        raise VideoError(f"{path}: no such file")
    if path.is_dir():
        raise VideoError(f"{path}: is a folder; name a video file, or a picture sequence such as {path}/%06d.png")
    if not path.is_file():
        raise VideoError(f"{path}: is a device or a pipe; write it to a file first, which can be read again")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes)")
    with path.open("rb") as file:
        head = file.read(64)
    if head.lstrip().startswith(_LISTS):
        raise VideoError(f"{path}: is a playlist, which names other files; name those themselves")
    if head[8:16] == b"WEBPVP8X" and head[20] & _ANIMATED:
        raise VideoError(
            f"{path}: is an animated WebP, which FFmpeg does not decode; make numbered pictures of it first, by "
            "ImageMagick: magick IN.webp -coalesce frames/%06d.png"
        )


@contextmanager
def translated(path: Path, what: str) -> Iterator[None]:
    """FFmpeg's errors become VideoErrors that name the file, except for a full disk: it becomes an OSError, which the
    job reports as what it is."""
    try:
        yield
    except av.error.InvalidDataError as error:
        raise VideoError(f"{path}: {what}: this is not a video file that FFmpeg knows, or it is damaged") from error
    except av.error.FFmpegError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, "no space left on device", str(path)) from error
        raise VideoError(f"{path}: {what}: {error.strerror}") from error
