"""The public functions of detection; see `refilm.api` for the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
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
from refilm.errors import JobError, UsageError
from refilm.jobs.background import told
from refilm.jobs.detections import FORMS, JobToTellDetections, ToldDetections, detection_sink
from refilm.jobs.job import Job
from refilm.jobs.piped import STANDARD_INPUT, run_from_pipe
from refilm.jobs.report import Report
from refilm.jobs.video_file import encoded_sink
from refilm.options import Encoding, Running
from refilm.stages.detections import Detections
from refilm.stages.draw import DrawStages
from refilm.stages.table import Work
from refilm.tasks import TASKS
from refilm.video.joining import WRITABLE

_TASK = TASKS["detection"]
_AHEAD = 8  # frames whose objects wait to be taken


def detect(path: str | Path, *own: Any, **keywords: Any) -> Iterator[Detections]:
    by_name(detect, (path,), options.Detect, own, keywords)
    job, callbacks = _telling(path, keywords)

    def run(tell: Callable[[Detections], None]) -> None:
        replace(job, tell=tell).run(*callbacks)

    return told(run, _AHEAD)


def tell_detections(path: str | Path, tell: Callable[[Detections], None], **keywords: Any) -> Report:
    """As `detect`, but the objects of each frame are told to `tell`, and a report is returned."""
    job, callbacks = _telling(path, keywords)
    return replace(job, tell=tell).run(*callbacks)


def detections(path_in: str | Path, path_out: str | Path, *own: Any, **keywords: Any) -> Report:
    by_name(detections, (path_in, path_out), options.Detect, own, keywords)
    form, leave_finished = keywords.pop("form", None), keywords.pop("leave_finished", False)
    if form is not None and form not in FORMS:
        raise UsageError(f"form is one of {', '.join(FORMS)}; got {form!r}")
    source, output = Path(path_in), Path(path_out)
    encoding = options.taken(Encoding, keywords)
    work, running, callbacks = _asked(path_in, keywords, "detections")
    if form is None and output.suffix.lower() in WRITABLE:
        return _draw(source, output, work, running, encoding, leave_finished, callbacks)
    sink = detection_sink(output, form)
    if encoding != Encoding():
        raise UsageError(f"{output}: the options of an encoding are about a film that boxes are drawn into")
    job = Job(sink=sink, leave_finished=leave_finished, takes_interlaced=True, **job_of(source, work, running))
    return run_from_pipe(job, *callbacks) if source == STANDARD_INPUT else job.run(*callbacks)


def boxes_beside(output: str | Path) -> Path:
    """The file of boxes that is written beside a film that they are drawn into."""
    return Path(f"{output}.jsonl")


def _draw(
    source: Path,
    output: Path,
    work: Work,
    running: Running,
    encoding: Encoding,
    leave_finished: bool,
    callbacks: Callbacks,
) -> Report:
    """Find the boxes, in a job of its own, and draw them, in another: their numbers are known when all are found."""
    if source == STANDARD_INPUT:
        raise UsageError("standard input can be read only once, and boxes are drawn in a second pass; name a file")
    sink, beside = encoded_sink(output, encoding), boxes_beside(output)
    sink.check(source, running.overwrite or leave_finished)
    on_progress, warn, on_start, on_step = callbacks
    made_before = f"{beside}: this very job has made it before"

    def warn_of_news(message: str) -> None:
        if not message.startswith(made_before):
            warn(message)

    wanted = job_of(source, work, replace(running, overwrite=False))
    finding = Job(sink=detection_sink(beside), leave_finished=True, takes_interlaced=True, **wanted)
    try:
        finding.run(on_progress, warn_of_news, on_start, on_step)
    except JobError:
        if not (running.overwrite and beside.exists()):  # those of another job
            raise
        finding = replace(finding, running=running)
        finding.run(on_progress, warn_of_news, on_start, on_step)
    on_step("drawing")
    digest = hashlib.sha256(beside.read_bytes()).hexdigest()
    drawing = Job(
        source=source,
        sink=sink,
        make_stage=DrawStages(beside),
        settings={work.task.verb: work.settings, "boxes": digest},
        weights=finding.weights,
        running=replace(running, scene_cuts=False),
        leave_finished=leave_finished,
    )
    return drawing.run(on_progress, warn, on_start, on_step)


def _telling(path: str | Path, keywords: dict[str, Any]) -> tuple[JobToTellDetections, Callbacks]:
    work, running, callbacks = _asked(path, keywords, "detect")
    refuse_output(running)
    sink = ToldDetections(Path("standard output"))
    return JobToTellDetections(sink=sink, **job_of(path, work, running)), callbacks


def _asked(path: str | Path, keywords: dict[str, Any], function: str) -> tuple[Work, Running, Callbacks]:
    return asked_of(_TASK, path, keywords, function, "detect in a part")


_SCORES = """
Frames are counted from 0 on, and times from the film's first frame. Boxes are in pixels of the frames as refilm.open
gives them. The same object has the same number from frame to frame, as far as it is seen (SORT).

"""

describe(
    detect,
    _TASK.summary.partition("\n")[0]
    + "\n\nReturns a generator of Detections, one for each frame, as soon as they are known. Closing it ends the work."
    + _SCORES
    + "Raises UsageError, a ValueError, for wrong arguments; and where the frame would come, VideoError if the film\n"
    "cannot be read, and WeightsError if weights are missing or damaged.\n",
    ("path",),
    keywords_of(options.Detect, Running) | MODEL | {n: t for n, t in CALLBACKS.items() if n != "leave_finished"},
    options.Detect,
    Iterator[Detections],
)
describe(
    detections,
    "Write the objects of a film: .csv, .jsonl, .txt as MOTChallenge has it, or the film with boxes drawn into it.\n\n"
    "If the job is stopped, the same call continues it. Beside a film, the boxes are written as path_out.jsonl."
    + _SCORES
    + "Raises as the functions that make videos, see `refilm.denoise`.\n\n"
    "path_in, path_out   the film, and what to write\n",
    ("path_in", "path_out"),
    keywords_of(options.Detect, Running, Encoding)
    | MODEL
    | CALLBACKS
    | {"form": (None, f"What to write: {', '.join(FORMS)}. Default: what the ending of path_out says.")},
    options.Detect,
    Report,
)
