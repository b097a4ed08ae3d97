"""The sinks of detection: the objects of a film as JSON lines, as a table, or as MOTChallenge's text.

Pieces are the same for all: a line for each frame, with its objects. Joining links them through the film. Times are
counted from the film's first frame, also where a part of it is worked on, and frames from the first that is worked on.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from refilm.jobs.event_file import Events, form_of, read_events
from refilm.jobs.piped import JobOfEvents
from refilm.jobs.source import Source
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
class DetectionFile(Events):
    """The common base of files that grow with the film, and are written frame by frame. See Sink for its methods."""

    head = ""

    def lines(self, found: Detections) -> str:
        """The text of a frame."""
        raise NotImplementedError

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> _Settings:
        return _Settings(source.film_start)

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
            for found in Linking().over(map(Unlinked.from_json, read_events(pieces)), settings.zero):
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
    return FORMS[form_of(path, form, ENDINGS, or_else=", or a video's")](path)


class ToldDetections(DetectionFile):
    """No file: frames are told to a function."""

    form = "told"


@dataclass(frozen=True)
class JobToTellDetections(JobOfEvents):
    """A job whose sink is ToldDetections. `tell` is called with each frame."""

    tell: Callable[[Detections], None] = lambda found: None

    @contextmanager
    def writing(self) -> Iterator[Callable[[_Settings], _Teller]]:
        yield lambda settings: _Teller(settings.zero, self.tell)


class _Teller:
    def __init__(self, zero: Fraction, tell: Callable[[Detections], None]) -> None:
        self._zero, self._tell = zero, tell
        self._linking = Linking()

    def write(self, frame: Unlinked) -> None:
        self._tell(self._linking.of(frame, self._zero))
