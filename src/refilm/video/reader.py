"""Reading untrusted files in a process of its own (`child.py`), so that what goes wrong there does not end the job."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from mmap import mmap
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from refilm.errors import VideoError
from refilm.video.bookmark import Bookmark
from refilm.video.child import HEADER_BYTES, SIGNS_OF_LIFE, SLOTS, slot_bytes
from refilm.video.coded_file import decoder_of
from refilm.video.companions import StreamPolicy
from refilm.video.encoder import EncoderSettings
from refilm.video.frame import Frame
from refilm.video.handles import is_pipe, opened
from refilm.video.joining import Piece
from refilm.video.part import Part
from refilm.video.read_losses import BookedLosses, ReadLosses
from refilm.video.rechaptering import Chapter
from refilm.video.video_info import VideoInfo

PATIENCE = 120  # seconds without a packet, after which FFmpeg counts as hung; a slow disk may take a few
_WAY_OUT = "The file is damaged or hostile; a copy of what can be read may do: ffmpeg -i IN -map 0 -c copy OUT.mkv"
_GIB = 1 << 30
_LEAST, _MOST = 2 * _GIB, 8 * _GIB

# The child finds the modules that this process found, and none that happen to lie in the current folder.
_START = """
import sys
connection, memory, limit, *sys.path = sys.argv[1:]
from refilm.video.child import main
main(int(connection), int(memory), int(limit))
"""


class VideoReader:
    """Frames of a file's main video stream, in order of presentation; and joining an output with its other streams.

    Iterate to decode from the start, or call `resume_at` to start from a bookmark; only one of the two, and once.
    Memory does not grow with length. Raises VideoError for files that cannot be read, also if FFmpeg crashes, hangs or
    takes too much memory over them.

    path   of a file or picture sequence, "-" for standard input; or an open binary file or pipe, see `handles.opened`.
           A pipe can be read once
    part   the frames that are wanted; None: all
    """

    def __init__(self, path: str | Path | BinaryIO, rate: Fraction | None = None, part: Part | None = None) -> None:
        self.path, handle = opened(path)
        # who writes into a pipe may take any time
        self._patience = math.inf if handle is not None and is_pipe(handle) else PATIENCE
        self.losses = ReadLosses()  # so far
        self._lost = BookedLosses()
        ours, theirs = socket.socketpair()
        self._shared = _shared_memory()
        self._header = mmap(self._shared.fileno(), HEADER_BYTES)
        handles = theirs.fileno(), self._shared.fileno()
        inherited = handles if handle is None else (*handles, handle)
        command = [sys.executable, "-P", "-c", _START, *map(str, handles), str(memory_limit()), *sys.path]
        # numpy's threads would take longer to start than all the rest
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                command, env=environment, pass_fds=inherited, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        if handle is not None:
            os.close(handle)
        self._connection = Connection(ours.detach())
        try:
            self.info: VideoInfo = self._call("open", self.path, rate, part, handle)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reading process. Another thread that waits for a frame gets a VideoError."""
        self._process.kill()
        self._process.wait()
        self._shared.close()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames("read", None)

    def resume_at(self, bookmark: Bookmark) -> Iterator[Frame]:
        """Frames from the bookmarked one on: by seeking if that finds the same picture, else by decoding up to it."""
        return self._frames("read", bookmark, first=bookmark.index)

    def near(self, time: Fraction, count: int) -> Iterator[Frame]:
        """Up to `count` frames from the last key frame before `time` on, in seconds since the film's first frame.

        To look at samples of a film: can be called repeatedly, but not before or after iterating. Times and places are
        not checked. Where the file cannot be sought, there are no frames.
        """
        return self._frames("near", time, count)

    def lost_in(self, first: int, end: int | None) -> dict[str, float]:
        """What could not be read among frames `first` to `end` of the source, which must have been read; asked once.

        The keys are the fields of ReadLosses. A loss is counted with the frame before it, wherever reading began, so
        that the parts of a job add up however often it was stopped.
        """
        return self._lost.take(first, end)

    def rehearse(
        self,
        settings: EncoderSettings,
        policy: StreamPolicy,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> None:
        """See joining.rehearse."""
        self._call("rehearse", settings, policy, target, format_name, warn=warn)

    def join(
        self,
        pieces: Sequence[Piece],
        settings: EncoderSettings,
        policy: StreamPolicy,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> float | None:
        """See joining.join."""
        drift: float | None = self._call("join", pieces, settings, policy, target, format_name, warn=warn)
        return drift

    def rehearse_copy(self, policy: StreamPolicy, target: Path, format_name: str, warn: Callable[[str], None]) -> None:
        """See rechaptering.rehearse_copy."""
        self._call("rehearse_copy", policy, target, format_name, warn=warn)

    def copy_with_chapters(
        self,
        chapters: Sequence[Chapter],
        policy: StreamPolicy,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> None:
        """See rechaptering.copy_with_chapters."""
        self._call("copy", chapters, policy, target, format_name, warn=warn)

    def _frames(self, call: str, *arguments: object, first: int = 0) -> Iterator[Frame]:
        """The frames that a call gives; `first`: number of the first one in the stream."""
        self._send((call, arguments))
        if self.info.coded is not None:
            yield from self._decoded(arguments[0] if isinstance(arguments[0], Bookmark) else None, call, first)
            return
        held, size = self.info.format, slot_bytes(self.info)
        shapes = held.plane_shapes(self.info.height, self.info.width)
        number, memory = first, None
        while (message := self._receive())[0] == "frame":
            slot, time, duration, position, lost = message[1]
            memory = memory or mmap(self._shared.fileno(), HEADER_BYTES + SLOTS * size)
            planes, offset = [], HEADER_BYTES + slot * size
            for height, width in shapes:
                samples = np.frombuffer(memory, held.dtype, height * width, offset).reshape(height, width)
                planes.append(samples.copy())
                offset += samples.nbytes
            self._send(slot)
            if lost:
                self.losses.add(lost)
                self._lost.book(number, lost)
            yield Frame(tuple(planes), held, self.info.colour, time, duration, position=position)
            number += 1

    def _decoded(self, start: Bookmark | None, call: str, number: int) -> Iterator[Frame]:
        """The frames of a learned codec, which are decoded in this process; FFmpeg has no part in it."""
        info = self.info
        assert info.coded is not None
        decoder = decoder_of(info.coded, self.path)
        # what comes before is there for the others to refer to
        begin = start.time if start is not None else info.start_time
        while (message := self._receive())[0] == "coded":
            coded, lost = message[1]
            planes, is_same = decoder.planes(coded)
            if call == "read" and coded.time < begin:
                continue
            frame = Frame(planes, info.format, info.colour, coded.time, coded.duration)
            if start is not None and number == start.index and Bookmark.of(frame, number) != start:
                raise VideoError(f"{self.path}: gives another picture than before at {float(frame.time):.3f} s")
            if lost := lost | ({} if is_same else {"differing": 1}):
                self.losses.add(lost)
                self._lost.book(number, lost)
            yield frame
            number += 1

    def _call(self, name: str, *arguments: object, warn: Callable[[str], None] = lambda _: None) -> Any:
        self._send((name, arguments))
        while (message := self._receive())[0] == "note":
            warn(message[1])
        return message[1]

    def _send(self, message: object) -> None:
        with contextlib.suppress(ConnectionError):  # the child has ended, which waiting for its answer reports
            self._connection.send(message)

    def _receive(self) -> tuple[str, Any]:
        """The next message. Raises the error that the child reports, or VideoError where it has ended or hangs."""
        try:
            # seconds are counted, not read off a clock, which runs on while this process is suspended
            still, packets = 0, -1
            while not self._connection.poll(1):
                before, (packets, source_read) = packets, SIGNS_OF_LIFE.unpack_from(self._header)
                still = 0 if packets != before or source_read else still + 1
                if still >= self._patience:
                    self.close()
                    raise VideoError(
                        f"{self.path}: FFmpeg hangs over it: nothing came for {PATIENCE} s after {packets} packets. "
                        + _WAY_OUT
                    )
            kind, content = self._connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)  # it is about to end; if it does not, it is killed
            self.close()
            status = self._process.returncode
            reason = signal.Signals(-status).name if status < 0 else f"exit code {status}"
            raise VideoError(f"{self.path}: FFmpeg crashed over it ({reason}). {_WAY_OUT}") from error
        if kind != "error":
            return kind, content
        if isinstance(content, MemoryError):
            raise VideoError(
                f"{self.path}: reading it takes more than {memory_limit() // 10**6} MB of memory; "
                "the file is damaged or hostile, or its pictures are too large for this machine"
            ) from content
        raise content


def probe(path: str | Path | BinaryIO, rate: Fraction | None = None) -> VideoInfo:
    """Describe the video file or picture sequence at `path`, or an open binary file.

    rate   frames a second of a picture sequence, or of another source whose format stores no times
    Raises VideoError if it cannot be read or has no video stream that decodes.
    """
    with VideoReader(path, rate) as reader:
        return reader.info


def frames(path: str | Path | BinaryIO, rate: Fraction | None = None) -> Iterator[Frame]:
    """Every frame of a video, decoded as the iteration goes on. Public as `refilm.open`.

    path   of a video file or picture sequence, "-" for standard input; or a file opened in binary mode, a pipe, or
           another object with `read`, such as an io.BytesIO, which is copied to a temporary file first
    rate   frames a second of a picture sequence, or of another source whose format stores no times

    Raises VideoError if it cannot be read.
    """
    with VideoReader(path, rate) as reader:
        yield from reader


def memory_limit() -> int:
    """Bytes that reading a file may take: half of the machine's, between 2 and 8 GiB; 8K at 10 bit needs some 4 GiB."""
    return min(max(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2, _LEAST), _MOST)


def _shared_memory() -> BinaryIO:
    """A file without a name, which goes when the last process that uses it ends; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        memory: BinaryIO = os.fdopen(os.memfd_create("refilm"), "w+b", buffering=0)
    else:
        memory = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    memory.truncate(HEADER_BYTES)
    return memory
