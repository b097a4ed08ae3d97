"""The output of a running job: a progress bar on a terminal, plain lines elsewhere, or JSON lines for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

import refilm
from refilm.cli.events import event_line
from refilm.jobs.in_words import clock, rough_time

if TYPE_CHECKING:  # they load torch, and something is to be seen before
    from refilm.jobs.analysis import Analysis
    from refilm.jobs.job import Start
    from refilm.jobs.pace import Progress
    from refilm.jobs.report import Report
    from refilm.stages.detections import Detections
    from refilm.stages.timeline import Event

_SECONDS_BETWEEN_LINES = 5.0
# Seconds of work that need no announcement.
_SHORT = 10.0
_NOTHING_TO_DO = "looks clean: nothing to do, and nothing is written"


class JobConsole:
    """Shows the progress, the warnings and the report of a job. A context manager, to be used around the job.

    JSON and what happens in films go to standard output, everything else to standard error.

    film   the input that the job is about, to be named in events; None: it is the only one
    """

    def __init__(self, as_json: bool, film: Path | None = None) -> None:
        self._json = as_json
        self._about = {} if film is None else {"input": str(film)}
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._bar: Bar | None = None
        self._spoke = time.monotonic()
        self._resumed_told = False

    def __enter__(self) -> JobConsole:
        if not self._json and self._console.is_terminal:
            columns = BarColumn(), TextColumn("{task.fields[said]}", markup=False)
            # standard output may be a file
            self._bar = Bar(*columns, console=self._console, transient=True, redirect_stdout=False)
            self._task = self._bar.add_task("", total=None, said="starting ...")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def callbacks(self) -> dict[str, Any]:
        """The callbacks of a job by which it shows itself here, as keywords of the public functions."""
        return {"on_progress": self.progress, "warn": self.warn, "on_start": self.start, "on_step": self.step}

    def step(self, step: str) -> None:
        """Show what takes a while before and after the work, on a terminal alone."""
        if self._bar is not None:
            self._bar.update(self._task, total=None, said=f"{step} ...")

    def start(self, start: Start) -> None:
        """Say how much work there is, before it begins; of a short job only to programs."""
        self.step("making the first frames")
        if not self._json and start.seconds is not None and start.seconds < _SHORT:
            return
        memory = f"at most {start.memory / 1e9:.1f} GB of memory"
        lasting = "" if start.seconds is None else f", {rough_time(start.seconds)}"
        left = None if start.frames is None else start.frames - start.resumed_from
        self._say(
            "start",
            f"{'frames' if left is None else f'{left} frames'}{lasting}, {memory}",
            refilm=refilm.__version__,
            frames=start.frames,
            resumed_from=start.resumed_from,
            seconds=None if start.seconds is None else round(start.seconds, 1),
            planned_memory_mb=round(start.memory / 1e6, 1),
            tile=start.tile,
            segment_frames=start.segment_frames,
        )

    def progress(self, progress: Progress) -> None:
        """Show the progress: the bar each time, a line at most every few seconds."""
        if progress.resumed_from and not self._resumed_told:
            self._resumed_told = True
            self._say("resumed", f"going on from source frame {progress.resumed_from}", frames=progress.resumed_from)
        speed, left = progress.frames_per_second, progress.seconds_left
        of = f" of {progress.total}" if progress.total else ""
        pace = "" if speed is None else f", {speed:.{1 if speed >= 1 else 2}f} a second"
        eta = "" if left is None else f", {left:.0f} s left"
        line = f"{progress.frames}{of} frames{pace}{eta}"
        if self._bar is not None:
            total = None if progress.total is None else max(progress.total, progress.frames)
            self._bar.update(self._task, completed=progress.frames, total=total, said=line)
        elif time.monotonic() - self._spoke >= _SECONDS_BETWEEN_LINES:
            self._spoke = time.monotonic()
            self._say(
                "progress",
                line,
                frames=progress.frames,
                total=progress.total,
                frames_per_second=None if speed is None else round(speed, 3),
                seconds_left=None if left is None else round(left, 1),
            )

    def warn(self, message: str) -> None:
        self._say("warning", f"warning: {message}", style="yellow", message=message)

    def analysis(self, found: Analysis, command: str | None) -> None:
        """Say what a film asks for, and the command that does it, before it is done, or to a program."""
        from refilm.cli.tables import plain

        line = found.first or command or _NOTHING_TO_DO
        self._say("analysis", line, command=command, analysis=plain(found))

    def event(self, event: Event) -> None:
        """Show what happens in a film from one time to another."""
        if self._json:
            print(event_line("recognized", **event.as_json(), **self._about), flush=True)
            return
        told = ", ".join(f"{label} {score:.0%}" for label, score in event.labels)
        self._print(f"{clock(event.start)}  {clock(event.end)}  {told}")

    def detections(self, found: Detections) -> None:
        """Show the objects of a frame; of a frame without any only to programs."""
        if self._json:
            print(event_line("detections", **found.as_json(), **self._about), flush=True)
            return
        if not found.boxes:
            return
        told = "  ".join(
            f"{box.label} {box.track} {box.score:.0%} {','.join(f'{side:g}' for side in box.box)}"
            for box in found.boxes
        )
        self._print(f"{clock(found.time)}  {told}")

    def _print(self, line: str) -> None:
        """Print on standard output; above the bar, if both are on the terminal."""
        if self._bar is not None and sys.stdout.isatty():
            self._console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def report(self, report: Report | None) -> None:
        """Show the report at the end of a job, as a table or as JSON. None: nothing was to do."""
        if report is None:
            return
        if self._json:
            print(event_line("done", report=asdict(report), **self._about), flush=True)
        else:
            self._console.print(report_table(report))

    def _say(self, event: str, line: str, style: str | None = None, **fields: object) -> None:
        if self._json:
            print(event_line(event, line=line, **fields, **self._about), flush=True)
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
    }
    told = ", ".join(
        f"{count} {what}" for what, count in counts.items() if count or what not in ("restored", "left out")
    )
    rows = [
        ("frames", f"{report.frames_in} in, {report.frames_out} out: {told}"),
        (
            "duration",
            f"{report.duration_in:.3f} s in, {report.duration_out:.3f} s out"
            + ("" if report.av_drift is None else f"; sound and picture drift by {1000 * report.av_drift:.1f} ms"),
        ),
    ]
    if report.makes_events:
        rows = [("frames", f"{report.frames_in} in"), ("duration", f"{report.duration_in:.3f} s")]
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
            f"{report.seconds:.1f} s, {report.frames_per_second:.1f} {'' if report.makes_events else 'output '}frames "
            "a second, "
            f"{report.real_time_factor:.2f} x real time; peak memory {report.peak_memory_mb:.0f} MB",
        ),
    ]
    if (whole := report.whole) is not None:
        told = "" if whole.frames is None else f"{whole.frames} frames"
        told += "" if whole.seconds is None else f", {rough_time(whole.seconds)}"
        told += "" if whole.megabytes is None else f", about {whole.megabytes:.4g} MB"
        rows += [("picture", f"before and after: {whole.picture}"), ("the whole", told or "of unknown length")]
    for row in rows:
        table.add_row(*row)
    return table


def _models(report: Report) -> Iterator[str]:
    """The models of a job with their weights; those that enlarge for a recogniser come before it."""
    for settings in report.settings.values():
        if isinstance(settings, dict) and "model" in settings:
            for each in (*settings.get("through", ()), settings):
                yield each["model"] + (f" ({each['weights']})" if each["weights"] else "")
