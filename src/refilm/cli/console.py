"""The output of a running job: a progress bar on a terminal, plain lines elsewhere, or JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from refilm.jobs.job import Progress
from refilm.jobs.report import Report

_SECONDS_BETWEEN_LINES = 5.0


class JobConsole:
    """Shows the progress, the warnings and the report of a job. A context manager, to be used around the job.

    JSON goes to standard output, everything else to standard error.
    """

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._bar: Bar | None = None
        self._spoke = time.monotonic()
        self._resumed_told = False

    def __enter__(self) -> JobConsole:
        if not self._json and self._console.is_terminal:
            columns = (
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} frames"),
                TextColumn("{task.fields[speed]}"),
            )
            self._bar = Bar(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task("", total=None, speed="", visible=False)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def progress(self, progress: Progress) -> None:
        """Show the progress: the bar each time, a line at most every few seconds."""
        if progress.resumed_from and not self._resumed_told:
            self._resumed_told = True
            self._say("resumed", f"going on from source frame {progress.resumed_from}", frames=progress.resumed_from)
        done = progress.frames - progress.resumed_from
        speed = done / progress.seconds if progress.seconds else 0.0
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=progress.frames,
                total=max(progress.total or progress.frames, progress.frames),
                speed=f"{speed:.1f} frames/s",
                visible=True,
            )
        elif time.monotonic() - self._spoke >= _SECONDS_BETWEEN_LINES:
            self._spoke = time.monotonic()
            left = (progress.total - progress.frames) / speed if progress.total and speed else None
            of = f" of {progress.total}" if progress.total else ""
            eta = f", {max(left, 0):.0f} s left" if left is not None else ""
            self._say(
                "progress",
                f"{progress.frames}{of} frames, {speed:.1f} a second{eta}",
                frames=progress.frames,
                total=progress.total,
                frames_per_second=round(speed, 3),
                seconds_left=None if left is None else round(max(left, 0), 1),
            )

    def warn(self, message: str) -> None:
        self._say("warning", f"warning: {message}", style="yellow", message=message)

    def report(self, report: Report) -> None:
        """Show the report at the end of a job, as a table or as JSON."""
        if self._json:
            print(json.dumps({"event": "done", "report": asdict(report)}), flush=True)
        else:
            self._console.print(report_table(report))

    def _say(self, event: str, line: str, style: str | None = None, **fields: object) -> None:
        if self._json:
            print(json.dumps({"event": event, "line": line, **fields}), flush=True)
        else:
            self._console.print(line, style=style, markup=False)


def report_table(report: Report) -> Table:
    """The report as a table of two columns."""
    table = Table(show_header=False, box=None, title=f"{report.output}", title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    counts = {
        "kept": report.frames_kept,
        "restored": report.frames_restored,
        "new": report.frames_new,
        "repeated": report.frames_repeated,
        "left out": report.frames_left_out,
        "dropped": report.frames_dropped,
    }
    told = ", ".join(
        f"{count} {what}" for what, count in counts.items() if count or what not in ("restored", "left out")
    )
    rows = [
        ("frames", f"{report.frames_in} in, {report.frames_out} out: {told}"),
        (
            "duration",
            f"{report.duration_in:.3f} s in, {report.duration_out:.3f} s out; "
            f"sound and picture drift by {1000 * report.av_drift:.1f} ms",
        ),
    ]
    if report.colour_change is not None:
        codes = ", ".join(f"{change:+.2f}" for change in report.colour_change)
        rows.append(
            ("colour", f"the planes of the models' pictures differ from the source's by {codes} of 255 on the mean")
        )
    for kind, change in report.restoration.items():
        rows.append((kind, f"a sample changes by {change:.2f} of 255 on the mean, at the size it was given"))
    if (check := report.self_check) is not None:
        rows.append(
            (
                "self-check",
                f"{check.frames} real frames predicted from their neighbours: {check.model:.2f} dB "
                f"(plain blending {check.blend:.2f} dB, repeating {check.repeat:.2f} dB)",
            )
        )
    rows += [
        ("model", ", ".join(_models(report))),
        (
            "speed",
            f"{report.seconds:.1f} s, {report.frames_per_second:.1f} output frames a second, "
            f"{report.real_time_factor:.2f} x real time; peak memory {report.peak_memory_mb:.0f} MB",
        ),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _models(report: Report) -> Iterator[str]:
    for settings in report.settings.values():
        if isinstance(settings, dict):
            yield settings["model"] + (f" ({settings['weights']})" if settings["weights"] else "")
