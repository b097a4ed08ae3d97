"""A preview: a short part of a job's result, a picture of before and after, and what the whole would take.

Its files have `.preview` in their names, so that the whole can be made by the same command without `--preview`. A
preview replaces an earlier one of the same name, and nothing else.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refilm.errors import JobError
from refilm.jobs.job import Job, Start, expected_frames
from refilm.jobs.pace import Progress
from refilm.jobs.placing import report_path
from refilm.jobs.report import Report, WholeEstimate
from refilm.jobs.source import open_source
from refilm.jobs.work_folder import write_atomically
from refilm.options import moment
from refilm.video import Colour, Frame, VideoInfo, VideoReader
from refilm.video.picture_sequence import PictureSequence
from refilm.video.pixel_format import held_format

_INK, _PAPER = (40, 40, 40), 255
_MILLISECOND = Fraction(1, 1000)


@dataclass
class _Course:
    """When the frames of a preview were made, in seconds: the first ones apart, which take longer."""

    began: float = 0.0
    ended: float = 0.0
    first: int = 0

    def at(self, progress: Progress) -> None:
        if not self.first:
            self.began, self.first = time.monotonic(), max(progress.frames, 1)

    def step(self, _: str) -> None:
        self.ended = time.monotonic()  # the last step is the joining, after all frames

    def frame_seconds(self, frames: int) -> float | None:
        return (self.ended - self.began) / (frames - self.first) if frames > self.first else None


def run_preview(
    job: Job,
    on_progress: Callable[[Progress], None],
    warn: Callable[[str], None],
    on_start: Callable[[Start], None],
    on_step: Callable[[str], None],
) -> Report:
    """Make a preview of `job.running.preview` seconds, from its `from_time` on, or else from the middle of the film.

    The callbacks are those of `Job.run`. -> the report of the preview, whose `whole` says what the whole would take
    Raises as `Job.run`, and JobError if a file with the name of the picture exists that is not a preview's.
    """
    on_step(f"reading {job.source.name}")
    with open_source(job.source, job.rate) as source:
        film = source.info
    short = _shortened(job, film)
    base, is_folder = short.sink.base, PictureSequence.of(short.sink.path) is not None
    picture = base.with_name((base.name if is_folder else base.stem) + ".png")
    is_ours = Report.is_one(report_path(base))
    if picture.exists() and not (is_ours or job.running.overwrite):
        raise JobError(f"{picture}: exists, and is no preview's; move it away, or add --overwrite")
    if is_ours:
        short = replace(short, running=replace(short.running, overwrite=True))
    course = _Course()

    def progressed(progress: Progress) -> None:
        course.at(progress)
        on_progress(progress)

    def stepped(step: str) -> None:
        course.step(step)
        on_step(step)

    report = short.run(progressed, warn, on_start, stepped)
    _write_picture(short, report, picture)
    frames, each = expected_frames(film), course.frame_seconds(report.frames_in)
    share = None if frames is None else frames / report.frames_in
    files = PictureSequence(short.sink.path).files() if is_folder else [short.sink.path]
    whole = WholeEstimate(
        picture=str(picture),
        frames=frames,
        seconds=None if frames is None or each is None else round(frames * each, 1),
        megabytes=None if share is None else round(share * sum(file.stat().st_size for file in files) / 1e6, 1),
    )
    report = replace(report, whole=whole)
    write_atomically(report_path(base), report.to_json())
    return report


def _shortened(job: Job, film: VideoInfo) -> Job:
    """The job for the preview alone."""
    length = moment(job.running.preview or 0)
    begin = Fraction(0)
    if job.running.from_time is not None:
        begin = moment(job.running.from_time)
    elif (frames := expected_frames(film)) is not None:
        begin = max(begin, (frames / film.frame_rate - length) / 2 // _MILLISECOND * _MILLISECOND)
    running = replace(job.running, preview=None, from_time=begin, to_time=begin + length, restart=True)
    sink: Any = job.sink
    return replace(job, sink=replace(sink, path=preview_path(sink.path)), running=running)


def preview_path(path: Path) -> Path:
    """The name of the preview: film.preview.mp4 for film.mp4, and frames.preview/%06d.png for frames/%06d.png."""
    if PictureSequence.of(path) is not None:
        folder = path.parent.resolve()
        return folder.with_name(folder.name + ".preview") / path.name
    return path.with_name(f"{path.stem}.preview{path.suffix}")


def _write_picture(job: Job, report: Report, path: Path) -> None:
    """Write a picture of the middle of the preview: the source's on the left, the result's on the right.

    Where there are more frames than in the source, the result's is a new one, and the source's the one shown before it.
    """
    with VideoReader(job.source, job.rate, job.part) as reader:
        before = next(itertools.islice(reader, report.frames_in // 2, None))
        time = before.time - reader.info.start_time
    rate = Fraction(report.frames_out / report.duration_out).limit_denominator(1001)
    slack = (1 if report.frames_out > report.frames_in else -1) / (4 * rate)  # clocks are coarse
    after = None
    with VideoReader(job.sink.path, rate) as reader:
        for after in reader:
            if after.time - reader.info.start_time >= time + slack:
                break
    assert after is not None, "a result has frames"
    left, right = _picture(before), _picture(after)
    if left.shape != right.shape:
        left = cv2.resize(left, (right.shape[1], right.shape[0]), interpolation=cv2.INTER_CUBIC)
    both = np.concatenate([_labelled(left, "before"), _labelled(right, "after")], axis=1)
    unfinished = path.with_name(path.stem + ".part.png")
    if not cv2.imwrite(str(unfinished), both):
        raise JobError(f"{path}: cannot be written")
    os.replace(unfinished, path)


def _picture(frame: Frame) -> np.ndarray:
    """uint8 [H, W, 3], blue first, as OpenCV expects it."""
    green, blue, red = frame.converted(held_format("gbrp"), Colour(matrix="rgb", range="pc")).planes
    return np.stack([blue, green, red], axis=-1)


def _labelled(picture: np.ndarray, words: str) -> np.ndarray:
    """The picture under a line with `words`."""
    height = max(24, picture.shape[0] // 24)
    line = np.full((height, picture.shape[1], 3), _PAPER, np.uint8)
    size = height / 36
    cv2.putText(line, words, (height // 4, round(height * 0.72)), cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
    return np.concatenate([line, picture])
