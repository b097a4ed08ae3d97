"""The films of the page: uploads in the work folder, and films in the folders that the server was told to serve."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from refilm.errors import RefilmError, UsageError, VideoError
from refilm.jobs.batch import VIDEO_SUFFIXES
from refilm.video.coded import SUFFIX

ENDINGS = tuple(sorted((*VIDEO_SUFFIXES, SUFFIX)))
_LONGEST_NAME = 100
# Entries of folders that are looked through, and films that are listed.
_ENTRIES, _LISTED = 20_000, 500


@dataclass(frozen=True)
class Film:
    """A film of the page.

    facts     what `refilm probe --json` prints of it
    findings  what `refilm probe --findings --json` prints besides; None: it has not been looked for
    """

    id: str
    name: str
    path: Path
    is_upload: bool
    facts: dict[str, Any]
    findings: dict[str, Any] | None = None

    @property
    def duration(self) -> float | None:
        return _seconds(self.facts.get("duration"))


class Films:
    """The films in the database.

    folders  that films may be named in
    uploads  the folder for uploads
    most     bytes of the largest upload
    """

    def __init__(self, store: sqlite3.Connection, folders: Sequence[Path], uploads: Path, most: int) -> None:
        self._store, self.uploads, self.most = store, uploads, most
        self.folders = [folder.resolve() for folder in folders]
        self._looking = asyncio.Lock()  # one film at a time is looked at, which takes all cores

    def all(self) -> list[Film]:
        return [_film(row) for row in self._store.execute("SELECT * FROM films ORDER BY rowid")]

    def find(self, film_id: str) -> Film | None:
        row = self._store.execute("SELECT * FROM films WHERE id = ?", (film_id,)).fetchone()
        return None if row is None else _film(row)

    def listed(self) -> list[str]:
        """Paths of films in the folders, as far as few enough entries show them."""
        return sorted(str(path) for path in _some_films(self.folders))

    async def add_named(self, text: str) -> Film:
        """Add the film at a path. Raises UsageError if it is in none of the folders, VideoError if it is no film."""
        path = self._allowed(text)
        known = next((film for film in self.all() if film.path == path), None)
        return known or self._add(Film(secrets.token_hex(8), path.name, path, False, await probe(path)))

    async def add_upload(self, name: str, declared: int | None, chunks: AsyncIterator[bytes]) -> Film:
        """Keep what is uploaded. Raises UsageError if it is too large, VideoError if it is no film; none is kept then.

        declared  bytes that are said to come, if that is said
        """
        shown = safe_name(name)
        _check_ending(shown)
        film_id = secrets.token_hex(8)
        folder = self.uploads / film_id
        path = folder / f"film{Path(shown).suffix.lower()}"
        folder.mkdir()
        try:
            self._check_size(declared or 0)
            await self._write(path, chunks)
            return self._add(Film(film_id, shown, path, True, await probe(path, shown)))
        except BaseException:  # also where the browser has gone
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def remove(self, film: Film) -> None:
        """Forget a film. The file is deleted if it was uploaded."""
        self._store.execute("DELETE FROM films WHERE id = ?", (film.id,))
        if film.is_upload:
            shutil.rmtree(film.path.parent, ignore_errors=True)

    def clear_unfinished(self) -> None:
        """Delete what uploads have left that were cut off by a kill."""
        known = {film.id for film in self.all()}
        for folder in self.uploads.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    async def look_at(self, film: Film) -> Film:
        """Look for noise, damage, repeats and combs, once. Takes some seconds."""
        async with self._looking:
            found = self.find(film.id)
            if found is not None and found.findings is None:
                findings = (await probe(found.path, found.name, "--findings"))["findings"]
                self._store.execute("UPDATE films SET findings = ? WHERE id = ?", (json.dumps(findings), film.id))
            return self.find(film.id) or film

    def _allowed(self, text: str) -> Path:
        """The real path of a film that is named, without symbolic links."""
        if not self.folders:
            raise UsageError("no folder is served; start the server with --folder and the folder of the films")
        try:
            path = Path(text).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # not there, not allowed, a null character, a circle of links
            path = None
        # that a file outside of the folders exists is not told
        if path is None or not path.is_file() or not any(path.is_relative_to(folder) for folder in self.folders):
            raise UsageError(f"{text}: no such film in {', '.join(map(str, self.folders))}")
        _check_ending(path.name)
        return path

    def _check_size(self, size: int) -> None:
        if size > self.most:
            raise UsageError(
                f"the film is larger than {self.most / 1e9:g} GB, the most that this server takes; "
                "start it with --max-upload and more, or name the film's path"
            )
        if size > shutil.disk_usage(self.uploads).free:
            raise RefilmError("the film is larger than what is free on the server's disk")

    async def _write(self, path: Path, chunks: AsyncIterator[bytes]) -> None:
        size = 0
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self.most:
                        self._check_size(size)
                    await asyncio.to_thread(file.write, chunk)
        except OSError as error:
            raise RefilmError(f"the upload cannot be kept: {error.strerror}") from error

    def _add(self, film: Film) -> Film:
        row = asdict(film) | {"path": str(film.path), "facts": json.dumps(film.facts)}
        names = ", ".join(row)
        self._store.execute(f"INSERT INTO films ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
        return film


async def probe(path: Path, name: str | None = None, *flags: str) -> dict[str, Any]:
    """What `refilm probe --json` prints of a file. Raises VideoError with its error, in which the file is `name`."""
    command = (sys.executable, "-m", "refilm.cli.main", "probe", str(path), "--json", *flags)
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=pipe)
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:  # nobody waits for it any more
            process.kill()
    try:
        told = json.loads(said)
    except ValueError:
        told = {"message": f"{path}: cannot be looked at; the process ended with code {process.returncode}"}
    if process.returncode != 0:
        raise VideoError(told["message"].replace(str(path), name or str(path)))
    return told


def safe_name(name: str) -> str:
    """A name for files, without folders, and without characters that file systems or patterns give a meaning."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join("_" if sign in '%*?[]:"<>|' or not sign.isprintable() else sign for sign in last).lstrip(".- ")
    stem, suffix = os.path.splitext(plain)
    return (stem[:_LONGEST_NAME] or "film") + suffix[:10]


def _check_ending(name: str) -> None:
    if Path(name).suffix.lower() not in ENDINGS:
        raise UsageError(f"{name}: wanted a film, a file that ends in one of {', '.join(ENDINGS)}")


def _some_films(folders: Sequence[Path]) -> Iterator[Path]:
    seen = found = 0
    for folder in folders:
        for root, inner, files in os.walk(folder):
            inner.sort()
            inner[:] = [name for name in inner if not name.startswith(".")]
            seen += len(inner) + len(files)
            for name in sorted(files):
                if os.path.splitext(name)[1].lower() in ENDINGS:
                    found += 1
                    yield Path(root, name)
                if found >= _LISTED:
                    return
            if seen >= _ENTRIES:
                return


def _film(row: sqlite3.Row) -> Film:
    findings = None if row["findings"] is None else json.loads(row["findings"])
    facts = json.loads(row["facts"])
    return Film(row["id"], row["name"], Path(row["path"]), bool(row["is_upload"]), facts, findings)


def _seconds(fraction: str | None) -> float | None:
    """From text such as "1001/30", as JSON has the fractions of `refilm probe`."""
    if fraction is None:
        return None
    above, _, below = fraction.partition("/")
    return float(above) / float(below or 1)
