"""What jobs have found in a film, for the player: what happens when, and the boxes of a stretch of time."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import IO, Any


def timeline(path: Path) -> list[dict[str, Any]]:
    """The events of a table that `refilm recognize --csv` has written, as `--json` prints them."""
    events: list[dict[str, Any]] = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            start, end = float(row["start"]), float(row["end"])
            if not events or events[-1]["start"] != start:
                events.append({"start": start, "end": end, "labels": []})
            events[-1]["labels"].append({"label": row["label"], "score": float(row["score"])})
    return events


def boxes(path: Path, begin: float, end: float) -> list[dict[str, Any]]:
    """The frames from `begin` to `end`, in seconds, of a file that `refilm detect --jsonl` has written.

    The file is searched by halves for the first line, since that of a long film has hundreds of thousands.
    """
    found = []
    with path.open("rb") as file:
        low, high = 0, os.path.getsize(path)
        while low < high:
            middle = (low + high) // 2
            frame = _frame_from(file, middle)
            if frame is None or frame["time"] >= begin:
                high = middle
            else:
                low = middle + 1
        frame = _frame_from(file, low)
        while frame is not None and frame["time"] < end:
            found.append(frame)
            line = file.readline()
            frame = json.loads(line) if line else None
    return found


def _frame_from(file: IO[bytes], place: int) -> dict[str, Any] | None:
    """The first frame whose line begins at `place` or after it, in bytes; None behind the last."""
    file.seek(max(place - 1, 0))
    if place > 0:
        file.readline()  # the rest of the line before
    line = file.readline()
    return json.loads(line) if line else None
