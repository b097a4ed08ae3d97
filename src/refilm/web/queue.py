"""The queue of jobs. A job is one or several calls of the package's public functions, each in a process of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class State(StrEnum):
    """Where a job stands. Those that run when the server is killed wait when it is started again."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Step:
    """One call: the function `verb` of refilm from `source` to `output`, with `options` in JSON's types."""

    verb: str
    source: str
    output: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A job, as it is stored.

    title     what it does, in words
    steps     for a preview the source's part, as browsers play it, and the result; else one
    progress  the last event "start" or "progress" of the running step; see docs/events.md
    message   why it failed, or why nothing was made
    report    of the last step, when it is done
    """

    id: str
    film: str
    verb: str
    title: str
    is_preview: bool
    steps: tuple[Step, ...]
    state: State = State.WAITING
    progress: dict[str, Any] | None = None
    message: str | None = None
    warnings: tuple[str, ...] = ()
    report: dict[str, Any] | None = None

    @property
    def result(self) -> Path | None:
        """What was made; None if it is not there, or not yet."""
        made = Path(self.report["output"]) if self.state == State.DONE and self.report else None
        return made if made is not None and made.is_file() else None


_JSON = ("progress", "warnings", "report")


class Queue:
    """The jobs in the database, in the order in which they were added."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store

    def recover(self) -> None:
        """After a start of the server: what ran then, waits now; what was to pause, has done so."""
        for before, now in ((State.RUNNING, State.WAITING), (State.PAUSING, State.PAUSED)):
            self._store.execute("UPDATE jobs SET state = ? WHERE state = ?", (now, before))

    def add(self, job: Job) -> Job:
        row = asdict(job) | {name: json.dumps(getattr(job, name)) for name in _JSON}
        row["steps"] = json.dumps([asdict(step) for step in job.steps])
        names = ", ".join(row)
        self._store.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
        return job

    def change(self, job_id: str, **fields: Any) -> Job | None:
        """Write some fields of a job. -> the job; None if it has been removed"""
        values = [json.dumps(value) if name in _JSON else value for name, value in fields.items()]
        names = ", ".join(f"{name} = ?" for name in fields)
        self._store.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values, job_id))
        return self.find(job_id)

    def remove(self, job_id: str) -> None:
        self._store.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def find(self, job_id: str) -> Job | None:
        found = self._select("WHERE id = ?", job_id)
        return found[0] if found else None

    def all(self) -> list[Job]:
        return self._select("ORDER BY number")

    def of_film(self, film: str) -> list[Job]:
        return self._select("WHERE film = ? ORDER BY number", film)

    def next_waiting(self, is_preview: bool) -> Job | None:
        """The job that has waited longest, among previews or among the others."""
        found = self._select("WHERE state = ? AND is_preview = ? ORDER BY number LIMIT 1", State.WAITING, is_preview)
        return found[0] if found else None

    def _select(self, which: str, *values: Any) -> list[Job]:
        return [_job(row) for row in self._store.execute(f"SELECT * FROM jobs {which}", values)]


def _job(row: sqlite3.Row) -> Job:
    fields = {name: row[name] for name in row.keys() if name != "number"}  # noqa: SIM118  # rows iterate over values
    fields |= {name: json.loads(fields[name] or "null") for name in _JSON}
    return Job(
        **fields
        | {
            "is_preview": bool(fields["is_preview"]),
            "steps": tuple(Step(**step) for step in json.loads(fields["steps"])),
            "state": State(fields["state"]),
            "warnings": tuple(fields["warnings"]),
        }
    )


def titled(verb: str, changed: Sequence[tuple[str, Any]]) -> str:
    """What a job does, in words, from the options that differ from the defaults: "upscale, scale 2, for browser"."""
    return ", ".join([verb, *(_in_words(name, value) for name, value in changed)])


def _in_words(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {value}"
