"""Opening files that strangers made: local files only, and errors in the user's words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer

from refilm.errors import VideoError

SEQUENCE_RATE = Fraction(25)  # a folder of pictures has no clock; FFmpeg's default

# No more is decoded: 16K video has 133 million. A damaged header may say anything, and memory is taken by what it says.
MAX_PIXELS = 1 << 27
# Formats that only name other files, or the screen and the cameras; image2 takes a "%d" in a name for other files too.
_NOT_OPENED = {
    "hls", "concat", "dash", "imf", "sdp", "rtp", "rtsp", "sap", "vobsub", "webm_dash_manifest", "alias_pix",
    "brender_pix", "image2", "lavfi", "alsa", "fbdev", "kmsgrab", "oss", "video4linux2,v4l2", "x11grab",
}  # fmt: skip
_FORMATS = ",".join(sorted(av.formats_available - _NOT_OPENED))
_LISTS = (b"#EXTM3U", b"ffconcat version", b"<MPD", b"<?xml", b"v=0")  # how files that name others begin

# PyAV's logging stays off, as is its default: with any level set, decoder threads take the interpreter lock to log, and
# a codec that is freed while they wait for it hangs.


def is_sequence(path: Path) -> bool:
    """`frames/%06d.png`: a printf pattern for numbered pictures."""
    return "%" in path.name and not path.exists() and _numbered(path) is not None


def sequence_files(path: Path) -> list[Path]:
    """The existing files of a picture sequence, in the order of their numbers."""
    parts = _numbered(path)
    if parts is None:
        raise VideoError(f"{path}: a picture sequence needs one number pattern such as %06d in its name")
    head, tail = parts
    found = []
    for file in path.parent.glob(f"{_escape(head)}*{_escape(tail)}") if path.parent.is_dir() else ():
        number = file.name[len(head) : len(file.name) - len(tail)]
        if number.isdigit() and path.name % int(number) == file.name:
            found.append((int(number), file))
    return [file for _, file in sorted(found)]


@contextmanager
def open_input(path: Path, rate: Fraction | None = None) -> Iterator[InputContainer]:
    """A file or picture sequence, opened for reading; VideoError says what is wrong with it.

    rate   frames a second of a picture sequence (files have their own clock)
    """
    options = {"protocol_whitelist": "file"}
    with translated(path, "cannot be read"):
        if is_sequence(path):
            container = _open_sequence(path, SEQUENCE_RATE if rate is None else rate, options)
        else:
            check_readable(path)
            options["format_whitelist"] = _FORMATS
            container = av.open(as_file(path), options=options, metadata_errors="replace")
    with container:
        yield container


def as_file(path: Path) -> str:
    """The path in FFmpeg's words: names such as "http:x.mp4" are not taken for a protocol."""
    return f"file:{path}"


def check_readable(path: Path) -> None:
    if not path.exists():
        raise VideoError(f"{path}: no such file")
    if path.is_dir():
        raise VideoError(f"{path}: is a folder; name a video file, or a picture sequence such as {path}/%06d.png")
    if not path.is_file():
        raise VideoError(f"{path}: is a device or a pipe; write it to a file first, which can be read again")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes)")
    with path.open("rb") as file:
        if file.read(64).lstrip().startswith(_LISTS):
            raise VideoError(f"{path}: is a playlist, which names other files; name those themselves")


@contextmanager
def translated(path: Path, what: str) -> Iterator[None]:
    """FFmpeg's errors become VideoErrors that name the file; a full disk is told as such by the job, so OSErrors of
    that kind pass."""
    try:
        yield
    except av.error.InvalidDataError as error:
        raise VideoError(f"{path}: {what}: this is not a video file that FFmpeg knows, or it is damaged") from error
    except av.error.FFmpegError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, "no space left on device", str(path)) from error
        raise VideoError(f"{path}: {what}: {error.strerror}") from error


def _open_sequence(path: Path, rate: Fraction, options: dict[str, str]) -> InputContainer:
    files = sequence_files(path)
    if not files:
        raise VideoError(f"{path}: no picture of this sequence exists")
    head, tail = _numbered(path) or ("", "")
    first = int(files[0].name[len(head) : len(files[0].name) - len(tail)])
    if int(files[-1].name[len(head) : len(files[-1].name) - len(tail)]) != first + len(files) - 1:
        raise VideoError(
            f"{path}: the sequence has gaps ({len(files)} pictures from {files[0].name} to {files[-1].name})"
        )
    options |= {"framerate": str(rate), "start_number": str(first)}
    pattern = f"{str(path.parent).replace('%', '%%')}/{path.name}"
    return av.open(f"file:{pattern}", format="image2", options=options)


def _numbered(path: Path) -> tuple[str, str] | None:
    """What stands before and after the number pattern."""
    head, percent, rest = path.name.partition("%")
    digits, d, tail = rest.partition("d")
    if not (percent and d and (digits == "" or digits.isdigit())) or "%" in tail or tail[:1].isalpha():
        return None  # "50%discount.mp4" is a name like any other
    return head, tail


def _escape(text: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
