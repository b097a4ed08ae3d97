"""`<out>.refilm/`: what a job has finished, so that the same command goes on where it was stopped."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from refilm.errors import JobError
from refilm.video import Bookmark
from refilm.video.joining import Piece

_SAMPLES, _SAMPLE_BYTES = 16, 1 << 18


@dataclass(frozen=True)
class FinishedPiece:
    """What is known of a piece; stands beside it as JSON.

    source_end when its last source frame ends, seconds as a fraction
    pts        ticks of the packets, in the order of the file
    durations  ticks, in the order of `pts`
    tally      what the report adds up
    """

    index: int
    frames_in: int
    source_end: str
    pts: array[int]
    durations: array[int]
    sha256: str
    next_start: Bookmark | None
    tally: dict[str, float]


class WorkFolder:
    """The folder of one job, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Creates the folder and locks it. JobError if another process works in it, or if it is somebody's own."""
        lock = self._lock()
        try:
            yield
        finally:
            if self._is_held(lock) and not (self.has_pieces() or self.report.exists()):
                self.remove()  # nothing is lost, so nothing is left behind
            os.close(lock)

    def _lock(self) -> int:
        while True:
            try:
                self.path.mkdir(exist_ok=True)
            except OSError as error:
                raise JobError(f"{self.path.parent}: cannot write here: {error.strerror}") from error
            with contextlib.suppress(FileNotFoundError):  # another process has just finished and removed the folder
                found = {file.name for file in self.path.iterdir()}
                if found and not found & {"lock", "report"}:  # an empty one may be what a kill has left of ours
                    raise JobError(
                        f"{self.path}: is not a folder of refilm's; move it away, its name is needed for the work"
                    )
                lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    os.close(lock)
                    raise JobError(
                        f"{self.path}: another refilm is working on this output; wait for it, or stop it"
                    ) from error
                if self._is_held(lock):
                    return lock
                os.close(lock)

    def _is_held(self, lock: int) -> bool:
        """Whether the locked file is still the one that other processes find."""
        try:
            return os.path.samestat(os.fstat(lock), (self.path / "lock").stat())
        except FileNotFoundError:
            return False

    def has_pieces(self) -> bool:
        """Whether there is finished work here."""
        return any(self.path.glob("[0-9]*.json"))

    def identity(self) -> dict[str, Any]:
        """What the unfinished job here was; empty if its record cannot be read."""
        try:
            found = json.loads((self.path / "job.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def report(self) -> Path:
        """Where the report waits while the result takes its final name, and until all else here is removed."""
        return self.path / "report"

    def begin(self, identity: dict[str, Any]) -> None:
        """Empty the folder for a new job."""
        for file in self.path.iterdir():
            if file.name != "lock":
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        write_atomically(self.path / "job.json", json.dumps(identity, indent=1))

    def piece_path(self, index: int) -> Path:
        return self.path / f"{index:06d}.piece"

    def unfinished_path(self, index: int) -> Path:
        return self.path / f"{index:06d}.part"

    def keep(self, piece: FinishedPiece) -> None:
        """Makes the encoded `unfinished_path` a piece for good: first its data, then its name, then its record."""
        unfinished = self.unfinished_path(piece.index)
        sync(unfinished)
        os.replace(unfinished, self.piece_path(piece.index))
        record = asdict(piece) | {"pts": list(piece.pts), "durations": list(piece.durations)}
        if piece.next_start is not None:
            record["next_start"]["time"] = str(piece.next_start.time)
        write_atomically(self._record_path(piece.index), json.dumps(record))

    def finished(self) -> list[FinishedPiece]:
        """The pieces from the first on that are whole; from the first damaged one on, they are made again."""
        pieces: list[FinishedPiece] = []
        while (piece := self._read(len(pieces))) is not None:
            pieces.append(piece)
            if piece.next_start is None:
                break
        for leftover in self.path.glob("*.part"):
            leftover.unlink()
        return pieces

    def for_joining(self, piece: FinishedPiece) -> Piece:
        return Piece(self.piece_path(piece.index), piece.pts, piece.durations)

    def remove(self) -> None:
        """In an order that lets the next run see how far a killed one came."""
        last = {"report": 1, "lock": 2}
        with contextlib.suppress(OSError):  # what cannot be removed does no harm
            for file in sorted(self.path.iterdir(), key=lambda file: last.get(file.name, 0)):
                shutil.rmtree(file) if file.is_dir() else file.unlink()
            self.path.rmdir()

    def _record_path(self, index: int) -> Path:
        return self.path / f"{index:06d}.json"

    def _read(self, index: int) -> FinishedPiece | None:
        try:
            record = json.loads(self._record_path(index).read_text())
            start = record.pop("next_start")
            bookmark = None if start is None else Bookmark(start["index"], Fraction(start["time"]), start["digest"])
            times: dict[str, Any] = {key: array("q", record.pop(key)) for key in ("pts", "durations")}
            piece = FinishedPiece(**record, **times, next_start=bookmark)
            if sha256(self.piece_path(index)) != piece.sha256:
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return piece


def sequence_fingerprint(files: Sequence[Path]) -> str:
    """The same for pictures: the name, size and time of change of every one, and the contents of the first and last."""
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    contents = [fingerprint(file) for file in (files[0], files[-1])]
    return hashlib.sha256(repr((states, contents)).encode()).hexdigest()


def fingerprint(path: Path) -> str:
    """Tells one source from another: size, and samples from all over the file; a film is not read twice for it."""
    state = hashlib.sha256()
    size = path.stat().st_size
    state.update(str(size).encode())
    with path.open("rb") as file:
        for sample in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
            state.update(file.read(_SAMPLE_BYTES))
    return state.hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """The old content or the new, never half of it, whenever the power fails."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text)
    sync(unfinished)
    os.replace(unfinished, path)
    sync(path.parent)


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync folders
            raise
    finally:
        os.close(handle)
