"""The database in the work folder: films and jobs, in SQLite, so that both are there after a kill or a power cut."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from refilm.errors import JobError

_VERSION = 1
_TABLES = """
CREATE TABLE films (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, path TEXT NOT NULL, is_upload INTEGER NOT NULL,
    facts TEXT NOT NULL, findings TEXT
);
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, film TEXT NOT NULL REFERENCES films (id),
    verb TEXT NOT NULL, title TEXT NOT NULL, is_preview INTEGER NOT NULL, steps TEXT NOT NULL, state TEXT NOT NULL,
    progress TEXT, message TEXT, warnings TEXT NOT NULL, report TEXT
);
"""


def open_store(path: Path) -> sqlite3.Connection:
    """Open the database at `path`, or make it. Raises JobError if there is another file, or one of another version."""
    try:
        # each statement is on the disk when it returns; the event loop alone uses it, be it in this thread or another
        store = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        store.row_factory = sqlite3.Row
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("PRAGMA synchronous = FULL")
        store.execute("PRAGMA foreign_keys = ON")
        (version,) = store.execute("PRAGMA user_version").fetchone()
        if version == 0:
            store.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise JobError(f"{path}: belongs to another version of refilm web; give another --work folder")
    except sqlite3.Error as error:
        raise JobError(f"{path}: is not a queue of refilm web ({error}); give another --work folder") from error
    return store
