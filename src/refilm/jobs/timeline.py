"""The sinks of recognition: what happens in a film as a table, subtitles, a picture, or chapters of a copy.

Pieces are the same for all: a line for each stretch that the recogniser saw, with the scores of all labels. Joining
makes events of them. Times are counted from the film's first frame, also where a part of it is worked on.
"""

from __future__ import annotations

import csv
import io
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from refilm.jobs.event_file import Events, form_of, read_events
from refilm.jobs.piped import JobOfEvents
from refilm.jobs.source import Source
from refilm.jobs.timeline_picture import MOST_CARDS, Card, draw
from refilm.jobs.work_folder import FinishedPiece, sync
from refilm.stages.stage import StreamShape
from refilm.stages.table import Work
from refilm.stages.timeline import Event, Joining, Stretch, condensed, event_of
from refilm.video import VideoInfo
from refilm.video.companions import StreamPolicy
from refilm.video.joining import WRITABLE, output_format
from refilm.video.rechaptering import Chapter


@dataclass(frozen=True)
class TimelineSettings:
    """What events are made with.

    labels   the recogniser's, in the order of its scores
    topk     labels that are told of each event
    zero     time of the film's first frame, on the source's clock
    shape    width / height of the film's pictures, as they are shown
    """

    labels: tuple[str, ...]
    topk: int
    zero: Fraction
    shape: float

    def event(self, whole: Stretch) -> Event:
        return event_of(whole, self.labels, self.topk, self.zero)


@dataclass(frozen=True)
class Timeline(Events):
    """The common base. See Sink for its methods."""

    work: Work

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> TimelineSettings:
        shown = source.width * source.sample_aspect_ratio / source.height
        shown = 1 / shown if source.rotation % 180 else shown
        return TimelineSettings(self.work.model.labels, self.work.options.topk, source.film_start, float(shown))

    def identity(self, settings: TimelineSettings) -> dict[str, Any]:
        return super().identity(settings) | {"topk": settings.topk}

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: TimelineSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        self.write(lambda: map(Stretch.from_json, read_events(pieces)), settings, source, target, warn)
        sync(target)

    @abstractmethod
    def write(
        self,
        stretches: Callable[[], Iterator[Stretch]],
        settings: TimelineSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        """Write the file. `stretches` reads them from the pieces, any number of times."""


class _Lines(Timeline):
    """A text file that grows with the film, and is written event by event."""

    head = ""
    alike = False

    def lines(self, number: int, event: Event) -> str:
        """The text of an event. `number`: from 1 on"""
        raise NotImplementedError

    def write(
        self,
        stretches: Callable[[], Iterator[Stretch]],
        settings: TimelineSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        with target.open("w", encoding="utf-8", newline="") as file:
            file.write(self.head)
            for number, whole in enumerate(Joining(self.alike).over(stretches()), 1):
                file.write(self.lines(number, settings.event(whole)))


class CsvTable(_Lines):
    """A row for each label of each event."""

    form = "csv"
    head = "start,end,rank,label,score\n"

    def lines(self, number: int, event: Event) -> str:
        text = io.StringIO()
        times = [round(float(time), 6) for time in (event.start, event.end)]
        csv.writer(text, lineterminator="\n").writerows(
            [*times, rank, label, score] for rank, (label, score) in enumerate(event.labels, 1)
        )
        return text.getvalue()


class EventLines(_Lines):
    """A line of JSON for each event, as --json prints."""

    form = "jsonl"

    def lines(self, number: int, event: Event) -> str:
        return json.dumps(event.as_json()) + "\n"


class Subtitles(_Lines):
    """A subtitle for each event in SubRip's format; neighbours of the same likeliest label are one."""

    form = "srt"
    alike = True

    def lines(self, number: int, event: Event) -> str:
        label, score = event.labels[0]
        return f"{number}\n{_srt(event.start)} --> {_srt(event.end)}\n{label} ({score:.0%})\n\n"


class TimelinePicture(Timeline):
    """A picture with a card for each event; neighbours of the same likeliest label are one, and of long films more."""

    form = "png"

    def write(
        self,
        stretches: Callable[[], Iterator[Stretch]],
        settings: TimelineSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        count = sum(1 for _ in Joining(alike=True).over(stretches()))
        if count > MOST_CARDS:
            warn(f"{count} events are more than a picture can show: neighbours share a card")
        wholes = condensed(Joining(alike=True).over(stretches()), count, MOST_CARDS)
        cards = [Card(settings.event(whole), whole.picture) for whole in wholes]
        target.write_bytes(draw(cards, settings.shape))


@dataclass(frozen=True)
class ChapteredCopy(Timeline):
    """A copy of the film, packet by packet, with a chapter for each event; see `Subtitles` for what is one.

    drop_streams   whether to leave out what the container cannot hold, instead of refusing
    """

    drop_streams: bool = False

    form = "chapters"

    def check(self, source: Path, overwrite: bool) -> None:
        super().check(source, overwrite)
        output_format(self.path)

    def rehearse(self, settings: TimelineSettings, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        source.rehearse_copy(self._policy, folder / f"trial{self.path.suffix}", output_format(self.path), warn)

    def write(
        self,
        stretches: Callable[[], Iterator[Stretch]],
        settings: TimelineSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        wholes = Joining(alike=True).over(stretches())
        chapters = [Chapter(whole.time, whole.end, settings.labels[whole.best]) for whole in wholes]
        source.copy_with_chapters(chapters, self._policy, target, output_format(self.path), warn)

    @property
    def _policy(self) -> StreamPolicy:
        return StreamPolicy(drop_streams=self.drop_streams)


FORMS: dict[str, type[Timeline]] = {
    kind.form: kind for kind in (CsvTable, EventLines, Subtitles, TimelinePicture, ChapteredCopy)
}
ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".srt": "srt", ".png": "png", **dict.fromkeys(WRITABLE, "chapters")}


def timeline_sink(path: Path, work: Work, form: str | None, drop_streams: bool) -> Timeline:
    """The sink for a file. `form`: a key of FORMS; None: what the ending of the name says.

    Raises UsageError if the ending says nothing.
    """
    form = form_of(path, form, ENDINGS)
    if form == ChapteredCopy.form:
        return ChapteredCopy(path, work, drop_streams)
    return FORMS[form](path, work)


class Told(Timeline):
    """No file: events are told to a function as they are complete."""

    form = "told"

    def write(
        self,
        stretches: Callable[[], Iterator[Stretch]],
        settings: TimelineSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> None:
        raise NotImplementedError("there is no file")


@dataclass(frozen=True)
class JobToTell(JobOfEvents):
    """A job whose sink is Told.

    tell     called with each event, a whole stretch, and what tells its labels
    alike    whether neighbours of the same likeliest label are one event
    """

    tell: Callable[[Stretch, TimelineSettings], None] = lambda whole, settings: None
    alike: bool = False

    @contextmanager
    def writing(self) -> Iterator[Callable[[TimelineSettings], _Teller]]:
        tellers: list[_Teller] = []

        def begin(settings: TimelineSettings) -> _Teller:
            tellers.append(_Teller(Joining(self.alike), lambda whole: self.tell(whole, settings)))
            return tellers[-1]

        yield begin
        for teller in tellers:
            teller.close()


class _Teller:
    def __init__(self, joining: Joining, tell: Callable[[Stretch], None]) -> None:
        self._joining, self._tell = joining, tell

    def write(self, stretch: Stretch) -> None:
        for whole in self._joining.push(stretch):
            self._tell(whole)

    def close(self) -> None:
        for whole in self._joining.flush():
            self._tell(whole)


def _srt(time: Fraction) -> str:
    """A time as SubRip writes it, 00:01:02,500."""
    milliseconds = max(round(1000 * time), 0)
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{rest:03d}"
