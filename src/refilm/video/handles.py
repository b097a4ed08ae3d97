"""Open files, pipes and standard input as sources: as a handle that the reading process inherits."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from refilm.errors import VideoError

STANDARD_INPUT = Path("-")


def opened(source: str | Path | BinaryIO) -> tuple[Path, int | None]:
    """A name for messages, and the handle of an open source, which the caller closes; None for the path of a file.

    A file or pipe of the system is read by its own handle. Other file objects, such as an io.BytesIO, may have no
    handle, and are copied to a temporary file first. Both are read from where they stand.

    Raises TypeError for what is neither a path nor a file that gives bytes; VideoError if it is at its end.
    """
    if isinstance(source, str | Path):
        return Path(source), os.dup(0) if Path(source) == STANDARD_INPUT else None
    if not callable(getattr(source, "read", None)):
        raise TypeError(f"wanted a path, or a file opened in binary mode, got {type(source).__name__}")
    name = getattr(source, "name", None)
    path = Path(name if isinstance(name, str) else type(source).__name__)
    raw = getattr(source, "raw", source)  # below a buffer
    if isinstance(raw, io.FileIO) and (is_pipe(raw.fileno()) or source.tell() == 0):
        return path, os.dup(raw.fileno())
    with tempfile.TemporaryFile() as copy:
        try:
            shutil.copyfileobj(source, copy)
        except TypeError:
            raise TypeError(f"{path}: gives text, not bytes; open it in binary mode") from None
        if copy.tell() == 0:
            raise VideoError(f"{path}: nothing is left to read in it; move to its beginning first")
        copy.seek(0)
        return path, os.dup(copy.fileno())


def is_pipe(handle: int) -> bool:
    """Whether a handle is read once, from front to back."""
    return not stat.S_ISREG(os.fstat(handle).st_mode)
