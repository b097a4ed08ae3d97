"""The public functions of recognition; see `refilm.api` for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from refilm import options
from refilm.api import (
    CALLBACKS,
    MODEL,
    Callbacks,
    asked_of,
    by_name,
    describe,
    job_of,
    keywords_of,
    refuse_output,
)
from refilm.errors import UsageError
from refilm.jobs.job import Job
from refilm.jobs.piped import STANDARD_INPUT, run_from_pipe
from refilm.jobs.report import Report
from refilm.jobs.timeline import FORMS, JobToTell, TimelineSettings, Told, timeline_sink
from refilm.options import Running
from refilm.stages.table import PicturedStages, TaskStages, Work
from refilm.stages.timeline import Event, Stretch
from refilm.tasks import TASKS

_TASK = TASKS["recognition"]
_RECOGNIZE = """
Windows follow each other from the film's first frame on. What is left at the end belongs to the last one if it is less
than half of what the model sees at once. Scores are between 0 and 1, and those of all labels have the sum 1.

"""
_WINDOWED = """Raises VideoError if the film cannot be read, WeightsError if weights are missing or damaged, and
UsageError, a ValueError, for wrong arguments.
"""


def told(path: str | Path, tell: Callable[[Stretch, TimelineSettings], None], **keywords: Any) -> Report:
    """As `recognize`, but each event is told to `tell` as soon as it is complete; see `JobToTell`.

    alike   whether neighbours of the same likeliest label are one event
    """
    alike = keywords.pop("alike", False)
    work, running, callbacks = _asked(path, keywords, "recognize")
    refuse_output(running)
    job = JobToTell(sink=Told(Path("standard output"), work), tell=tell, alike=alike, **job_of(path, work, running))
    return job.run(*callbacks)


def recognize(path: str | Path, *own: Any, **keywords: Any) -> list[Event]:
    by_name(recognize, (path,), options.Recognize, own, keywords)
    found: list[Event] = []
    told(path, lambda whole, settings: found.append(settings.event(whole)), **keywords)
    return found


def timeline(path_in: str | Path, path_out: str | Path, *own: Any, **keywords: Any) -> Report:
    by_name(timeline, (path_in, path_out), options.Recognize, own, keywords)
    form, drop_streams = keywords.pop("form", None), keywords.pop("drop_streams", False)
    leave_finished = keywords.pop("leave_finished", False)
    if form is not None and form not in FORMS:
        raise UsageError(f"form is one of {', '.join(FORMS)}; got {form!r}")
    work, running, callbacks = _asked(path_in, keywords, "timeline")
    sink = timeline_sink(Path(path_out), work, form, drop_streams)
    stages = PicturedStages if sink.form == "png" else TaskStages
    job = Job(sink=sink, leave_finished=leave_finished, takes_interlaced=True, **job_of(path_in, work, running, stages))
    return run_from_pipe(job, *callbacks) if Path(path_in) == STANDARD_INPUT else job.run(*callbacks)


def _asked(path: str | Path, keywords: dict[str, Any], function: str) -> tuple[Work, Running, Callbacks]:
    """See `asked_of`. Scene cuts are looked for where they matter."""
    work, running, callbacks = asked_of(_TASK, path, keywords, function, "recognize a part")
    if work.options.shots and not running.scene_cuts:
        raise UsageError("shots are found by their scene cuts; leave out one of --shots and --no-scene-cuts")
    return work, replace(running, scene_cuts=work.options.looks_for_cuts(running.scene_cuts)), callbacks


describe(
    recognize,
    _TASK.summary.partition("\n")[0]
    + "\n\nReturns a list of Events: start and end in seconds since the film's first frame, and the likeliest labels."
    + _RECOGNIZE
    + _WINDOWED,
    ("path",),
    keywords_of(options.Recognize, Running) | MODEL | {n: t for n, t in CALLBACKS.items() if n != "leave_finished"},
    options.Recognize,
    list[Event],
)
describe(
    timeline,
    "Write what happens in a film, and when: .csv, .srt, .jsonl, .png, or a copy of the film with chapters.\n\n"
    "If the job is stopped, the same call continues it."
    + _RECOGNIZE
    + "Raises as the functions that make videos, see `refilm.denoise`.\n\n"
    "path_in, path_out   the film, and what to write\n",
    ("path_in", "path_out"),
    keywords_of(options.Recognize, Running)
    | MODEL
    | CALLBACKS
    | {
        "form": (None, f"What to write: {', '.join(FORMS)}. Default: what the ending of path_out says."),
        "drop_streams": (False, "Whether a copy leaves out streams that its container cannot hold."),
    },
    options.Recognize,
    Report,
)
