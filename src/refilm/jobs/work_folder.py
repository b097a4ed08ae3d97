"""The work folder `<out>.refilm/`, which keeps finished pieces, so that the same command continues a stopped job."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from refilm.errors import JobError
from refilm.jobs.tally import Tally
from refilm.video import Bookmark


@dataclass(frozen=True)
class FinishedPiece:
    """The record of a piece, which is kept beside it as JSON.

    index        number of the segment
    frames_in    number of its own source frames
    source_end   when the last of these ends, in seconds, as a fraction in text
    pts          times of the packets in ticks, in the order of the file; arrays of integers, as there may be many
    durations    durations of the packets in ticks, in the order of `pts`
    sha256       of the piece's file
    next_start   where reading for the next piece begins; None for the last one
    tally        counts and sums for the report
    """

    index: int
    frames_in: int
    source_end: str
    pts: array[int]
    durations: array[int]
    sha256: str
    next_start: Bookmark | None
    tally: Tally


class WorkFolder:
    """The folder of one job. It is locked by the process that plans and joins; other processes may add pieces."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self) -> Iterator[None]:
        """A context in which the folder exists and is locked. At its end, a folder without finished work is removed.

        Raises JobError if another process has locked it, or if it is not a work folder of refilm.
        """
        lock = self._lock()
        try:
            yield
        finally:
            if self._is_held(lock) and not (self.has_pieces() or self._starts.exists() or self.report.exists()):
                self.remove()  # it has nothing that a later run could use
            os.close(lock)

    def _lock(self) -> int:
        while True:
            try:
                self.path.mkdir(exist_ok=True)
            except OSError as error:
                raise JobError(f"{self.path.parent}: cannot write here: {error.strerror}") from error
            with contextlib.suppress(FileNotFoundError):  # another process has just finished and removed the folder
                found = {file.name for file in self.path.iterdir()}
                if found and not found & {"lock", "report"}:  # an empty one may be left of ours after a kill
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
        """Whether there are finished pieces."""
        return any(self.path.glob("[0-9]*.json"))

    def identity(self) -> dict[str, Any]:
        """The identity of the unfinished job in this folder; {} if there is none, or it cannot be read."""
        try:
            found = json.loads((self.path / "job.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def report(self) -> Path:
        """Path of the report from before the output gets its final name until the rest of the folder is removed."""
        return self.path / "report"

    def begin(self, identity: dict[str, Any]) -> None:
        """Empty the folder, and write the identity of a new job."""
        for file in self.path.iterdir():
            if file.name != "lock":
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        write_atomically(self.path / "job.json", json.dumps(identity, indent=1))

    def piece_path(self, index: int) -> Path:
        return self.path / f"{index:06d}.piece"

    def unfinished_path(self, index: int) -> Path:
        """Where this process writes a piece. No other that makes the same one, here or elsewhere, writes there."""
        return self.path / f"{index:06d}.{platform.node()}-{os.getpid()}.part"

    def keep(self, piece: FinishedPiece) -> None:
        """Turn the file at `unfinished_path` into a finished piece: sync its data, rename it, and write its record."""
        unfinished = self.unfinished_path(piece.index)
        sync(unfinished)
        os.replace(unfinished, self.piece_path(piece.index))
        record = vars(piece) | {"pts": list(piece.pts), "durations": list(piece.durations)}
        record |= {"next_start": _plain(piece.next_start), "tally": piece.tally.to_json()}
        write_atomically(self._record_path(piece.index), json.dumps(record))

    def finished(self) -> dict[int, FinishedPiece]:
        """The finished pieces whose files are intact, by number. Files that are not finished are removed."""
        found = {}
        for path in sorted(self.path.glob("[0-9]*.json")):
            if path.stem.isdigit() and (piece := self._read(int(path.stem))) is not None:
                found[piece.index] = piece
        for leftover in self.path.glob("*.part"):
            leftover.unlink()
        return found

    def keep_starts(self, starts: Sequence[Bookmark | None]) -> None:
        """Write where reading for each segment begins."""
        write_atomically(self._starts, json.dumps([_plain(start) for start in starts]))

    def starts(self) -> list[Bookmark | None] | None:
        """What `keep_starts` wrote; None if there is nothing."""
        try:
            return [_bookmark(record) for record in json.loads(self._starts.read_text())]
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def _starts(self) -> Path:
        return self.path / "starts.json"

    def remove(self) -> None:
        """Remove the folder: the report and then the lock last, so that after a kill the next run finds the report."""
        last = {"report": 1, "lock": 2}
        with contextlib.suppress(OSError):  # what remains does no harm
            for file in sorted(self.path.iterdir(), key=lambda file: last.get(file.name, 0)):
                shutil.rmtree(file) if file.is_dir() else file.unlink()
            self.path.rmdir()

    def _record_path(self, index: int) -> Path:
        return self.path / f"{index:06d}.json"

    def _read(self, index: int) -> FinishedPiece | None:
        try:
            record = json.loads(self._record_path(index).read_text())
            record["next_start"] = _bookmark(record["next_start"])
            record["tally"] = Tally.from_json(record["tally"])
            piece = FinishedPiece(**record | {key: array("q", record[key]) for key in ("pts", "durations")})
            if sha256(self.piece_path(index)) != piece.sha256:
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return piece


def _plain(start: Bookmark | None) -> dict[str, Any] | None:
    return None if start is None else asdict(start) | {"time": str(start.time)}


def _bookmark(record: dict[str, Any] | None) -> Bookmark | None:
    return None if record is None else Bookmark(**record | {"time": Fraction(record["time"])})


def is_locked(path: Path) -> bool:
    """Whether a process works in the work folder `path`."""
    try:
        lock = os.open(path / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextmanager
def disk_full_told(folder: Path) -> Iterator[None]:
    """A context in which an OSError becomes a JobError; if the disk is full, it says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise JobError(
                f"{folder.parent}: the disk is full; make room and run the same command again, "
                f"finished segments are kept in {folder.name}"
            ) from error
        raise JobError(f"{error.filename or folder}: {error.strerror}") from error


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Replace the content of a file, so that even after a power failure it is either the old or the new one."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text)
    sync(unfinished)
    os.replace(unfinished, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync folders
            raise
    finally:
        os.close(handle)
