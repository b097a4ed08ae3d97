"""The sinks of detection: the objects of a film as JSON lines, as a table, or as MOTChallenge's text.

Pieces are the same for all: a line for each frame, with its objects. Joining links them through the film. Times are
counted from the film's first frame, also where a part of it is worked on, and frames from the first that is worked on.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from refilm.errors import UsageError
from refilm.jobs.event_file import EventWriter
from refilm.jobs.job import expected_frames
from refilm.jobs.one_file import Records
from refilm.jobs.piped import JobAtOnce
from refilm.jobs.source import Source
from refilm.jobs.trial import stage_seconds
from refilm.jobs.work_folder import FinishedPiece, sync
from refilm.stages.detections import Detections, Unlinked
from refilm.stages.linking import Linking
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo


@dataclass(frozen=True)
class _Settings:
    """`zero`: time of the film's first frame, on the source's clock."""

    zero: Fraction


@dataclass(frozen=True)
class DetectionFile(Records):
    """The common base of files that grow with the film, and are written frame by frame. See Sink for its methods."""

    form = ""
    head = ""

    def lines(self, found: Detections) -> str:
        """The text of a frame."""
        raise NotImplementedError

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> _Settings:
        return _Settings(source.start_time if source.cut is None else source.cut.film_start)

    def identity(self, settings: _Settings) -> dict[str, Any]:
        return {"format": self.form}

    def described(self, settings: _Settings) -> dict[str, str]:
        return {"format": self.form}

    def rehearse(self, settings: _Settings, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        """Nothing to check: such a file can hold any objects."""

    def writer(self, path: Path, settings: _Settings) -> EventWriter:
        return EventWriter(path)

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: _Settings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        with target.open("w", encoding="utf-8", newline="") as file:
            file.write(self.head)
            for found in Linking().over(_read(path for path, _ in pieces), settings.zero):
                file.write(self.lines(found))
        sync(target)


class DetectionLines(DetectionFile):
    """A line of JSON for each frame, as --json prints, and with its exact time in seconds as `at`, such as 1001/30."""

    form = "jsonl"

    def lines(self, found: Detections) -> str:
        return json.dumps(found.as_json() | {"at": str(found.time)}) + "\n"


class DetectionTable(DetectionFile):
    """A row for each object of each frame."""

    form = "csv"
    head = "frame,time,track,label,score,left,top,right,bottom\n"

    def lines(self, found: Detections) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [found.frame, round(float(found.time), 6), box.track, box.label, box.score, *box.box] for box in found.boxes
        )
        return text.getvalue()


class MotText(DetectionFile):
    """MOTChallenge's results: frame, track, left, top, width, height, score, -1, -1, -1. Frames count from 1 there."""

    form = "mot"

    def lines(self, found: Detections) -> str:
        rows = []
        for box in found.boxes:
            left, top, right, bottom = box.box
            sides = f"{left:g},{top:g},{right - left:.6g},{bottom - top:.6g}"
            rows.append(f"{found.frame + 1},{box.track},{sides},{box.score:g},-1,-1,-1\n")
        return "".join(rows)


FORMS: dict[str, type[DetectionFile]] = {kind.form: kind for kind in (DetectionLines, DetectionTable, MotText)}
ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".txt": "mot"}


def detection_sink(path: Path, form: str | None = None) -> DetectionFile:
    """The sink for a file. `form`: a key of FORMS; None: what the ending of the name says.

    Raises UsageError if the ending says nothing.
    """
    form = form or ENDINGS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"{path}: cannot tell what to write from the name; take one of {', '.join(sorted(ENDINGS))}, or a video's"
        )
    return FORMS[form](path)


class ToldDetections(DetectionFile):
    """No file: frames are told to a function."""

    form = "told"


@dataclass(frozen=True)
class JobToTellDetections(JobAtOnce):
    """A job whose sink is ToldDetections. `tell` is called with each frame."""

    tell: Callable[[Detections], None] = lambda found: None
    takes_interlaced: bool = True

    def seconds_for(self, source: VideoInfo) -> float | None:
        frames = expected_frames(source)
        return None if frames is None else frames * stage_seconds(self.make_stage, source)

    @contextmanager
    def writing(self) -> Iterator[Callable[[_Settings], _Teller]]:
        yield lambda settings: _Teller(settings.zero, self.tell)


class _Teller:
    def __init__(self, zero: Fraction, tell: Callable[[Detections], None]) -> None:
        self._zero, self._tell = zero, tell
        self._linking = Linking()

    def write(self, frame: Unlinked) -> None:
        self._tell(self._linking.of(frame, self._zero))


def _read(paths: Iterable[Path]) -> Iterator[Unlinked]:
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                yield Unlinked.from_json(json.loads(line))
