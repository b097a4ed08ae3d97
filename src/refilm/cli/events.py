"""The JSON lines of `--json`, one an event: `events.schema.json` defines them, and docs/events.md explains."""

from __future__ import annotations

import json
from pathlib import Path

SCHEMA = Path(__file__).with_name("events.schema.json")
SCHEMA_VERSION = 1  # rises when a field goes, or changes its meaning; not when one is added


def event_line(event: str, **fields: object) -> str:
    """The JSON of an event; `fields` as the schema has them."""
    return json.dumps({"event": event, "schema": SCHEMA_VERSION, **fields})
