"""Pieces made by the workers of a Ray cluster (extra `cluster`): `refilm ... --on ray` or `--on ray://head:10001`.

A worker uses the source, and writes into the work folder, where it finds both at the paths that the driver names.
Where it does not, it fetches the source once, by its content, through Ray's object store, and sends the piece back.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import refilm
from refilm.errors import JobError, UsageError
from refilm.jobs.device import with_threads
from refilm.jobs.elsewhere import WorkerError
from refilm.jobs.pieces import PieceSpec, make_piece
from refilm.jobs.source import fingerprint
from refilm.jobs.work_folder import FinishedPiece, WorkFolder, sha256
from refilm.video.ffmpeg import library_versions

_CHUNK = 1 << 26
_VERSIONS = (refilm.__version__, library_versions()["libavcodec"])


@dataclass(frozen=True)
class Order:
    """What a worker is told.

    threads    that it uses
    source     the fingerprint of the source
    content    the checksum of the source, and references to its parts in the object store; None if all see it
    job        the checksum of the job's record in the work folder
    versions   of refilm and libavcodec: pieces of others might differ
    """

    spec: PieceSpec
    threads: int
    source: str
    content: tuple[str, list[Any]] | None
    job: str
    versions: tuple[str, str] = _VERSIONS


@dataclass(frozen=True)
class Made:
    """A finished piece, with the content of its file unless the worker has put it into the work folder itself."""

    piece: FinishedPiece
    content: bytes | None


class RayPool:
    """The workers of a cluster. One piece takes as many processors as the job has threads.

    address   "ray": the cluster that this machine belongs to, or else a new one of this machine alone; or
              "ray://host:port"
    threads   processor cores for each piece
    """

    def __init__(self, address: str, threads: int, device: str, spec: PieceSpec) -> None:
        ray = _ray()
        if not ray.is_initialized():
            where = None if address == "ray" else address
            try:
                ray.init(where, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise JobError(f"{address}: no Ray cluster answers there ({str(error).splitlines()[0]})") from error
        self._ray, self._threads, self._gpus = ray, threads, 1 if device.startswith("cuda") else 0
        self._folder = WorkFolder(spec.folder)
        job = sha256(spec.folder / "job.json")
        self._order = Order(spec, threads, fingerprint(spec.source), None, job)
        if not all(self._everywhere(_sees, spec.source, self._order.source)):
            self._order = replace(self._order, content=self._shared(spec.source))
        self._full: set[str] = set()

    @property
    def places(self) -> int:
        able = [node["Resources"] for node in self._nodes()]
        return sum(int(has.get("CPU", 0)) // self._threads for has in able if has.get("GPU", 0) >= self._gpus)

    def give(self, spec: PieceSpec) -> Any:
        options: dict[str, Any] = {"scheduling_strategy": "SPREAD"}
        if self._full and (others := [node for node in self._nodes() if node["NodeID"] not in self._full]):
            strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            options["scheduling_strategy"] = strategy(others[spec.index % len(others)]["NodeID"], soft=True)
        return self._task(_make).options(**options).remote(replace(self._order, spec=spec))

    def ended(self, tickets: Sequence[Any], seconds: float) -> Sequence[Any]:
        ended: Sequence[Any] = self._ray.wait(list(tickets), num_returns=1, timeout=seconds)[0]
        return ended

    def result(self, ticket: Any) -> FinishedPiece:
        errors = self._ray.exceptions
        try:
            made = self._ray.get(ticket)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, _DiskFullError):
                self._full.add(cause.node)
                raise WorkerError(str(cause)) from cause
            raise cause from None
        except errors.RayError as error:
            raise WorkerError(f"a worker was lost ({type(error).__name__})") from error
        if made.content is not None:
            self._folder.unfinished_path(made.piece.index).write_bytes(made.content)
            self._folder.keep(made.piece)
        piece: FinishedPiece = made.piece
        return piece

    def take_back(self, ticket: Any) -> None:
        self._ray.cancel(ticket, force=True)

    def _task(self, function: Any) -> Any:
        return self._ray.remote(num_cpus=self._threads, num_gpus=self._gpus, max_retries=0)(function)

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _everywhere(self, function: Any, *arguments: Any) -> list[Any]:
        """What a function says on each node."""
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        task = self._ray.remote(num_cpus=0, max_retries=2)(function)
        asked = [
            task.options(scheduling_strategy=affinity(node["NodeID"], soft=True)).remote(*arguments)
            for node in self._nodes()
        ]
        answers: list[Any] = self._ray.get(asked)
        return answers

    def _shared(self, source: Path) -> tuple[str, list[Any]]:
        """The source in the object store."""
        if not source.is_file():
            raise UsageError(f"{source}: some machines do not see it; numbered pictures need a path that all share")
        with source.open("rb") as file:
            parts = [self._ray.put(part) for part in iter(lambda: file.read(_CHUNK), b"")]
        return sha256(source), parts


class _DiskFullError(Exception):
    """The disk of a worker is full. `node`: its name in the cluster"""

    def __init__(self, host: str, node: str) -> None:
        super().__init__(host, node)
        self.host, self.node = host, node

    def __str__(self) -> str:
        return f"the disk of {self.host} is full"


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ModuleNotFoundError:
        raise UsageError('--on needs the package ray: pip install "refilm[cluster]"') from None
    return ray


def _sees(source: Path, expected: str) -> bool:
    """Whether this machine finds the source at its path."""
    try:
        return fingerprint(source) == expected
    except OSError:
        return False


def _make(order: Order) -> Made:
    """Make a piece, on a worker."""
    host = platform.node()
    if order.versions != _VERSIONS:
        raise JobError(f"{host}: has refilm {_VERSIONS[0]} and libavcodec {_VERSIONS[1]}, wanted {order.versions}")
    spec = order.spec
    record = spec.folder / "job.json"
    try:
        with with_threads(order.threads):
            if not _sees(spec.source, order.source):
                spec = replace(spec, source=_fetched(spec.source, order.content))
            if record.is_file() and sha256(record) == order.job:
                return Made(make_piece(spec), None)
            with tempfile.TemporaryDirectory() as folder:
                piece = make_piece(replace(spec, folder=Path(folder)))
                return Made(piece, WorkFolder(Path(folder)).piece_path(spec.index).read_bytes())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _DiskFullError(host, _ray().get_runtime_context().get_node_id()) from None
        raise


def _fetched(source: Path, content: tuple[str, list[Any]] | None) -> Path:
    """The source on this machine's disk, named after its content and fetched once."""
    if content is None:
        raise JobError(f"{platform.node()}: joined the cluster later, and does not see {source}")
    digest, parts = content
    folder = Path(tempfile.gettempdir()) / "refilm-sources"
    path = folder / f"{digest}{source.suffix}"
    if path.exists():
        return path
    folder.mkdir(exist_ok=True)
    partial, state = folder / f"{path.name}.{os.getpid()}.part", hashlib.sha256()
    with partial.open("wb") as file:
        for part in parts:
            data = _ray().get(part)
            state.update(data)
            file.write(data)
    if state.hexdigest() != digest:
        partial.unlink()
        raise JobError(f"{platform.node()}: {source} has changed on its way")
    partial.replace(path)
    return path
