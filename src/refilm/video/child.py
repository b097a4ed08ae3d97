"""The process in which an untrusted file is read, so that a crash inside FFmpeg ends this process and not the job.

`reader.py` starts it. It receives calls and answers with messages, both of them pickled: the two ends are the same
program under the same user. Samples go through shared memory instead, which has room for SLOTS pictures. A slot is the
parent's from the message that names it until the parent sends its number back. This process does not load torch, so
that it starts quickly.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import signal
import struct
import threading
import traceback
from collections.abc import Iterable, Sequence
from fractions import Fraction
from mmap import mmap
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from refilm.errors import RefilmError
from refilm.video import joining, rechaptering
from refilm.video.bookmark import Bookmark
from refilm.video.coded import is_coded
from refilm.video.coded_file import CodedFile
from refilm.video.companions import StreamPolicy
from refilm.video.decoder import Decoder
from refilm.video.encoder import EncoderSettings
from refilm.video.part import Part
from refilm.video.video_info import VideoInfo

SLOTS = 3  # one being filled, one waiting, one being emptied
HEADER_BYTES = 4096  # of the shared memory, before the slots
SIGNS_OF_LIFE = struct.Struct("=QQ")  # packets so far; 1 once the source is read and only writing is left


def slot_bytes(info: VideoInfo) -> int:
    """The room that a picture takes in the shared memory."""
    samples = sum(height * width for height, width in info.format.plane_shapes(info.height, info.width))
    return samples * np.dtype(info.format.dtype).itemsize


def main(connection: int, memory: int, memory_limit: int) -> None:
    """Serve the process at the other end of `connection` until it goes away."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # the parent acts on them, and ends this process
        signal.signal(ignored, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # some systems know this limit and refuse to set it
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
    _Child(Connection(connection), memory).serve()


class _Child:
    def __init__(self, connection: Connection, memory: int) -> None:
        self._connection, self._memory = connection, memory
        self._header = mmap(memory, HEADER_BYTES)
        self._packets = 0
        self._calls: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue()
        self._free: queue.Queue[int] = queue.Queue()  # slots that the parent has emptied
        self._has_slots = False

    def serve(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            name, arguments = self._calls.get()
            try:
                answer = ("done", getattr(self, f"do_{name}")(*arguments))
            except (RefilmError, OSError, MemoryError) as error:
                answer = ("error", error)
            except Exception:
                answer = ("error", RuntimeError(f"in the reading process:\n{traceback.format_exc()}"))
            self._connection.send(answer)

    def _listen(self) -> None:
        """Run in a thread, also while FFmpeg works, so that this process ends when the parent has gone."""
        try:
            while True:
                said = self._connection.recv()
                if isinstance(said, int):
                    self._free.put(said)
                else:
                    self._calls.put(said)
        except (EOFError, OSError):
            os._exit(0)

    def do_open(self, path: Path, rate: Fraction | None, part: Part | None, handle: int | None) -> VideoInfo:
        self._coded = handle is None and is_coded(path)
        self._decoder: Any = (
            CodedFile(path, self._count_packet, part)
            if self._coded
            else Decoder(path, rate, self._count_packet, part, handle)
        )
        info: VideoInfo = self._decoder.info
        return info

    def do_read(self, start: Bookmark | None) -> None:
        self._give(self._decoder.frames(start))

    def do_near(self, time: Fraction, count: int) -> None:
        self._give(self._decoder.near(time, count))

    def _give(self, frames: Iterable[Any]) -> None:
        """Send frames through the shared memory, or pictures of a learned codec as they are."""
        if self._coded:
            for coded in frames:
                self._connection.send(("coded", coded))
            return
        size = slot_bytes(self._decoder.info)
        os.ftruncate(self._memory, HEADER_BYTES + SLOTS * size)
        memory = mmap(self._memory, HEADER_BYTES + SLOTS * size)
        if not self._has_slots:
            self._has_slots = True
            for slot in range(SLOTS):
                self._free.put(slot)
        for frame, lost in frames:
            slot = self._free.get()
            offset = HEADER_BYTES + slot * size
            for plane in frame.planes:
                np.copyto(np.frombuffer(memory, plane.dtype, plane.size, offset).reshape(plane.shape), plane)
                offset += plane.nbytes
            self._connection.send(("frame", (slot, frame.time, frame.duration, frame.position, lost)))

    def do_rehearse(self, settings: EncoderSettings, policy: StreamPolicy, target: Path, format_name: str) -> None:
        joining.rehearse(settings, policy, self._decoder.info, target, format_name, self._note)

    def do_join(
        self,
        pieces: Sequence[joining.Piece],
        settings: EncoderSettings,
        policy: StreamPolicy,
        target: Path,
        format_name: str,
    ) -> float | None:
        return joining.join(
            pieces,
            settings,
            policy,
            self._decoder.info,
            target,
            format_name,
            self._note,
            self._count_packet,
            self._note_source_read,
        )

    def do_rehearse_copy(self, policy: StreamPolicy, target: Path, format_name: str) -> None:
        rechaptering.rehearse_copy(policy, self._decoder.info, target, format_name, self._note)

    def do_copy(
        self, chapters: Sequence[rechaptering.Chapter], policy: StreamPolicy, target: Path, format_name: str
    ) -> None:
        rechaptering.copy_with_chapters(
            chapters,
            policy,
            self._decoder.info,
            target,
            format_name,
            self._note,
            self._count_packet,
            self._note_source_read,
        )

    def _note(self, message: str) -> None:
        self._connection.send(("note", message))

    def _count_packet(self) -> None:
        self._packets += 1
        SIGNS_OF_LIFE.pack_into(self._header, 0, self._packets, 0)

    def _note_source_read(self) -> None:
        SIGNS_OF_LIFE.pack_into(self._header, 0, self._packets, 1)
