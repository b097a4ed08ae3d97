"""What the commands have in common that tell of films on standard output, or write it into files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refilm import options
from refilm.cli.events import print_error
from refilm.cli.make import run_many_jobs
from refilm.errors import DONE, FAILED, RefilmError, UsageError, WeightsError

if TYPE_CHECKING:
    from refilm.cli.console import JobConsole


def write_many(
    verb: str,
    paths: tuple[Path, ...],
    many: options.Many,
    wanted: dict[str, Any],
    as_json: bool,
    endings: Iterable[str],
) -> int:
    """Write a file for each film, of the kind that --suffix says, by the public function `verb`. -> exit code

    endings   those that there are
    """
    if Path("-") in paths:
        raise UsageError("- is standard input, which goes with one output, not with --output-dir")
    known = sorted(set(endings))
    if many.suffix is None or many.suffix.lower() not in known:
        given = "" if many.suffix is None else f", got {many.suffix!r}"
        raise UsageError(f"with --output-dir, --suffix says what to write: one of {', '.join(known)}{given}")
    return run_many_jobs(verb, paths, many, wanted, as_json, known)


def print_all(paths: tuple[Path, ...], as_json: bool, tell: Callable[[Path, JobConsole], None]) -> int:
    """Print what there is to tell of each film. An error about one film does not stop the others. -> exit code

    tell   does so for one film
    """
    from refilm.cli.console import JobConsole
    from refilm.jobs.batch import videos
    from refilm.jobs.piped import check_terminals

    films = list(dict.fromkeys(film for path in paths for film in videos(path)))
    for film in films:
        check_terminals(film, Path())
    if len(films) == 1:
        tell(films[0], JobConsole(as_json))
        return DONE
    failed = 0
    for film in films:
        if not as_json:
            print(film, flush=True)
        try:
            tell(film, JobConsole(as_json, film))
        except (UsageError, WeightsError):  # they hold for all of them
            raise
        except RefilmError as error:
            failed += 1
            print_error(str(error), FAILED, as_json, film)
    return FAILED if failed else DONE
