"""The JSON lines of `--json`, one an event: `events.schema.json` defines them, and docs/events.md explains."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

SCHEMA = Path(__file__).with_name("events.schema.json")
SCHEMA_VERSION = 1  # rises when a field goes, or changes its meaning; not when one is added


def event_line(event: str, **fields: object) -> str:
    """The JSON of an event; `fields` as the schema has them."""
    return json.dumps({"event": event, "schema": SCHEMA_VERSION, **fields})


def print_error(message: str, exit_code: int, as_json: bool, film: Path | None = None) -> None:
    """Print an error: an event on standard output, or a line on standard error. `film`: one of several inputs."""
    if as_json:
        about = {} if film is None else {"input": str(film)}
        print(event_line("error", message=message, exit_code=exit_code, **about), flush=True)
    else:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"refilm: {message}", markup=False, style="red")
