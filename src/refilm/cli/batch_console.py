"""The output of many jobs: progress bars on a terminal, plain lines elsewhere, or JSON lines; and a summary."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from refilm.cli.events import event_line
from refilm.jobs.batch import Outcome


class BatchConsole:
    """Shows the events of many jobs, and a summary at the end. A `Listener`, and a context manager."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._lock = threading.Lock()
        self._bars: dict[Path, TaskID] = {}
        self._progress: Progress | None = None

    def __enter__(self) -> BatchConsole:
        if not self._json and self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def event(self, source: Path, output: Path, event: dict[str, Any]) -> None:
        """Show an event of a job. JSON lines are passed on with the names of its files."""
        with self._lock:
            if self._json:
                print(json.dumps(event | {"input": str(source), "output": str(output)}), flush=True)
            elif event["event"] == "progress" and self._progress is not None:
                if source not in self._bars:
                    self._bars[source] = self._progress.add_task(source.name, said="")
                self._progress.update(
                    self._bars[source], completed=event["frames"], total=event["total"], said=event["line"]
                )
            elif event["event"] == "done":
                self._console.print(f"{source}: done", markup=False)
            else:
                style = {"warning": "yellow", "error": "red"}.get(event["event"])
                self._console.print(f"{source}: {event.get('line', event.get('message'))}", style=style, markup=False)

    def ended(self, source: Path) -> None:
        with self._lock:
            if self._progress is not None and source in self._bars:
                self._progress.remove_task(self._bars.pop(source))

    def summary(self, outcomes: Sequence[Outcome]) -> None:
        """Show how all jobs ended, as a table or as a JSON line."""
        if self._json:
            print(event_line("summary", jobs=[asdict(outcome) for outcome in outcomes]), flush=True)
            return
        if self._progress is not None:
            self._progress.stop()
        table = Table(box=None, header_style="dim")
        for title in ("input", "result", "frames", "seconds", "output"):
            table.add_column(title, overflow="fold")
        for outcome in outcomes:
            frames = "" if outcome.frames_in is None else f"{outcome.frames_in} to {outcome.frames_out}"
            is_left = outcome.state == "done" and outcome.frames_in is None
            made = outcome.message or ("nothing to do" if is_left else outcome.output)
            row = (outcome.source, outcome.state, frames, f"{outcome.seconds:.1f}", made)
            table.add_row(
                *(Text(cell) for cell in row), style={"failed": "red", "stopped": "yellow"}.get(outcome.state)
            )
        counts = Counter(outcome.state for outcome in outcomes)
        self._console.print(table)
        self._console.print(", ".join(f"{count} {state}" for state, count in counts.items()))
        if "stopped" in counts:
            self._console.print("run the same command again to go on from here")
