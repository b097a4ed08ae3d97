"""A job: from a source through stages into a sink, by probing, planning, making pieces, joining and reporting.

If it is killed at any moment, the same call continues it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from refilm.errors import JobError, Stopped, VideoError
from refilm.jobs.advice import advice, interlaced, little_done
from refilm.jobs.device import check_device, with_threads
from refilm.jobs.elsewhere import made_by
from refilm.jobs.identity import digest_of
from refilm.jobs.memory_meter import MemoryMeter
from refilm.jobs.pace import Pace, Progress, what_is_kept
from refilm.jobs.pieces import MakeStage, PieceSpec, Written, context_before, make_pieces, missing_runs
from refilm.jobs.placing import report_path, work_folder
from refilm.jobs.planning import Decided, begin_or_continue, identity_of
from refilm.jobs.report import Report
from refilm.jobs.segments import survey
from refilm.jobs.sink import Sink
from refilm.jobs.source import Source, fingerprint, open_source
from refilm.jobs.tally import Tally, total
from refilm.jobs.work_folder import FinishedPiece, WorkFolder, disk_full_told, write_atomically
from refilm.options import Running, frame_rate
from refilm.stages.stage import StreamShape
from refilm.video import Part, VideoInfo

_log = logging.getLogger(__name__)


class Start(NamedTuple):
    """What is known of a job before its work.

    frames         source frames in all; None if the file does not say
    resumed_from   source frames that an earlier run had done
    seconds        that the stages are expected to take for the rest, a rough figure; None: not known
    memory         bytes that the job takes at most
    segment_frames source frames in a segment: the most that is lost when the job is killed
    tile           side of the tiles in pixels; None: no tiles
    """

    frames: int | None
    resumed_from: int
    seconds: float | None
    memory: float
    segment_frames: int
    tile: int | None


@dataclass(frozen=True)
class Job:
    """One input, one output, and the stages in between.

    make_stage       makes the stage for a segment, from the source and the side of the tiles
    settings         everything that the results of the stages depend on; an unfinished job is continued only with the
                     same settings
    weights          names of the weight files, for the report
    leave_finished   whether to return the report of an output that this very job has already made, instead of raising
                     JobError because the output exists
    segment_frames   source frames in a segment; None: as many as take some 30 s, see `planning.py`
    takes_interlaced whether interlaced sources are taken as they are, since the stages do not see single lines
    """

    source: Path
    sink: Sink
    make_stage: MakeStage
    settings: dict[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    running: Running = field(default_factory=Running)
    leave_finished: bool = False
    segment_frames: int | None = None
    takes_interlaced: bool = False

    def run(
        self,
        on_progress: Callable[[Progress], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
        on_start: Callable[[Start], None] = lambda _: None,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> Report:
        """Do the job, or the rest of it, and return the report, which is also written beside the output.

        on_progress   called after each item that is written
        warn          called with each warning for the user
        on_start      called when the work begins, with what is known of it
        on_step       called with each thing that takes a while before and after the work, such as "reading film.mp4"

        Raises VideoError if the input cannot be read or converted, JobError if the output or its folder cannot be
        written, Stopped, a KeyboardInterrupt, when stopped. In all these cases, finished segments are kept, and the
        output is as it was before.
        """
        began = time.monotonic()
        warnings: list[str] = []

        def note(message: str) -> None:
            warnings.append(message)
            _log.warning("%s", message)
            warn(message)

        folder = WorkFolder(work_folder(self.sink.base))
        if folder.path.exists():
            with folder.held(), disk_full_told(folder.path):
                if (report := self._placed_before(folder)) is not None:
                    return report
        if self.leave_finished and (report := self._finished_before()) is not None:
            note(f"{self.sink.path}: this very job has made it before; it is left as it is")
            return report
        with MemoryMeter() as meter, self._begun(folder, note, on_step) as (source, spec, decided):
            finished = folder.finished()
            resumed, frames = _frames_in(finished.values()), expected_frames(source.info)
            each = decided.frame_seconds
            pace = Pace(frames, resumed, each, decided.encode_seconds, began)
            left = None if frames is None or each is None else (frames - resumed) * each
            on_start(Start(frames, resumed, left, spec.plan.memory, spec.length, spec.plan.tile))
            told: set[str] = set()

            def advise(tally: Tally) -> None:
                for name, text in self._advice(source.info, tally).items():
                    if name not in told:  # once, and as soon as it shows
                        told.add(name)
                        note(text)

            advise(tally := total(piece.tally for piece in finished.values()))
            try:
                for piece in self._make_missing(spec, source, finished, pace, on_progress):
                    finished[piece.index] = piece
                    pace.piece_ended(_frames_in(finished.values()))
                    advise(tally := tally + piece.tally)
            except KeyboardInterrupt:
                raise Stopped(what_is_kept(finished, frames, spec.length, pace.frame_seconds)) from None
            pieces = [finished[index] for index in range(len(finished))]
            whole = total(piece.tally for piece in pieces)
            for warning in [*whole.read_losses().warnings(), *little_done(whole.findings)]:
                note(warning)
            on_step(f"writing {self.sink.path.name}")
            drift = self._join(folder, spec, pieces, source, note)
            source.close()  # some systems tell the memory of its process only after its end
            report = Report.of(
                source=source.info,
                sink=self.sink,
                encoding=spec.settings,
                pieces=pieces,
                drift=drift,
                seconds=time.monotonic() - began,
                resumed=resumed,
                peak=meter.peak,
                planned=spec.plan.memory,
                identity=digest_of(identity_of(self, spec.settings)),
                settings=self.settings,
                weights=list(self.weights),
                warnings=warnings,
            )
            self._publish(folder, report)
        return report

    def plan(self, warn: Callable[[str], None] = lambda _: None) -> list[PieceSpec]:
        """A record for each piece, from which `refilm.jobs.pieces.make_piece` makes it, in any process; `run` joins.

        The source is decoded once, without any model, to find where each piece begins. The result is kept in the work
        folder. Call `run` when nobody makes pieces any more: it removes unfinished ones. Raises as `run`.
        """
        folder = WorkFolder(work_folder(self.sink.base))
        with self._begun(folder, warn, lambda _: None) as (source, spec, _):
            return self._specs(folder, spec, source)

    def _specs(self, folder: WorkFolder, spec: PieceSpec, source: Source) -> list[PieceSpec]:
        """The records of all pieces; see `plan`. `source` is read, unless where they begin is known."""
        starts = folder.starts()
        if starts is None:
            stage = self.make_stage(source.info, spec.plan.tile)
            starts = survey(source, spec.length, context_before(stage, self.running.scene_cuts))
            folder.keep_starts(starts)
        return [replace(spec, index=index, start=start) for index, start in enumerate(starts)]

    @contextmanager
    def _begun(
        self, folder: WorkFolder, warn: Callable[[str], None], on_step: Callable[[str], None]
    ) -> Iterator[tuple[Source, PieceSpec, Decided]]:
        """A context with the folder locked and all checks done.

        -> the open source, the record of the first piece, and what was decided
        """
        check_device(self.running.device)
        self._check()
        on_step(f"reading {self.source.name}")
        with open_source(self.source, self.rate, self.part) as source, with_threads(self.running.threads):
            self._refuse_interlaced(source.info)
            settings = self.sink_settings(source.info, self.running.threads or os.cpu_count() or 1)
            with folder.held(), disk_full_told(folder.path):
                self._check()  # the process that held the folder may have finished the job in the meantime
                self.sink.rehearse(settings, source, folder.path, warn)
                decided = begin_or_continue(self, folder, settings, source.info, on_step)
                yield (
                    source,
                    PieceSpec(
                        index=0,
                        length=decided.segment_frames,
                        source=self.source,
                        start=None,
                        rate=self.rate,
                        part=self.part,
                        scene_cuts=self.running.scene_cuts,
                        make_stage=self.make_stage,
                        sink=self.sink,
                        settings=decided.settings,
                        plan=decided.plan,
                        folder=folder.path,
                    ),
                    decided,
                )

    @property
    def rate(self) -> Fraction | None:
        """The frame rate of a source without times, if the user names one."""
        return None if self.running.input_fps is None else frame_rate(self.running.input_fps)

    @property
    def part(self) -> Part | None:
        """The part of the source that is wanted; None: all of it."""
        return None if self.running.part is None else Part(*self.running.part)

    def _check(self) -> None:
        """Raises JobError or VideoError if the output cannot be written. Changes nothing."""
        base, overwrite = self.sink.base, self.running.overwrite
        self.sink.check(self.source, overwrite)
        folder = base.parent.resolve()
        if not folder.is_dir():
            raise JobError(f"{folder}: no such folder; create it first")
        if not os.access(folder, os.W_OK):
            raise JobError(f"{folder}: cannot write here: permission denied")
        report = report_path(base)
        if report.exists() and not overwrite and not Report.is_one(report):
            raise JobError(
                f"{report}: exists and is no report of refilm's, which goes there; move it away, or add --overwrite"
            )

    def _placed_before(self, folder: WorkFolder) -> Report | None:
        """Finishes a job that was killed after its output got its final name. -> its report, if it was this job."""
        if not folder.report.exists() or not self.sink.is_placed(self._joined(folder)):
            return None
        report = Report.from_json(folder.report.read_text())
        self._clean_up(folder, report)
        asked_for = (report.source, report.settings) == (str(self.source), self.settings)
        return report if asked_for and not self.running.overwrite else None

    def _advice(self, source: VideoInfo, tally: Tally) -> dict[str, str]:
        """What the findings so far say about the source, see `advice`."""
        interpolation = self.settings.get("interpolate")
        keeps_repeats = interpolation is not None and not interpolation.get("drop_repeats", False)
        found = advice(self.source, tally.findings, keeps_repeats)
        if source.interlaced:  # and the user knows it, by `force`
            found.pop("combs", None)
        return found

    def _refuse_interlaced(self, source: VideoInfo) -> None:
        if source.interlaced and not (self.running.force or self.takes_interlaced):
            raise VideoError(interlaced(source))

    def _finished_before(self) -> Report | None:
        """The report beside the output, if it is that of this very job."""
        beside = report_path(self.sink.base)
        if self.running.overwrite or not self.sink.path.exists() or not Report.is_one(beside):
            return None
        report = Report.from_json(beside.read_text())
        with open_source(self.source, self.rate, self.part) as source:
            identity = identity_of(self, self.sink_settings(source.info, 1))
        return report if report.identity == digest_of(identity) else None

    def sink_settings(self, info: VideoInfo, threads: int) -> Any:
        """The settings of the sink for a source, and a number of threads."""
        shape = self.make_stage(info, self.running.tile).shape(StreamShape.of(info))
        return self.sink.settings(info, shape, threads)

    def _make_missing(
        self,
        spec: PieceSpec,
        source: Source,
        finished: dict[int, FinishedPiece],
        pace: Pace,
        on_progress: Callable[[Progress], None],
    ) -> Iterator[FinishedPiece]:
        """Make the pieces that are missing: here, consecutive ones in one pass over the source, or by many workers."""
        if self.running.on is not None:
            from refilm.jobs.ray_pool import RayPool

            missing = [own for own in self._specs(WorkFolder(spec.folder), spec, source) if own.index not in finished]
            pool = RayPool(self.running.on, self.running.threads or os.cpu_count() or 1, self.running.device, spec)
            for piece in made_by(pool, missing):
                yield piece
                on_progress(pace.at(_frames_in(finished.values())))
            return
        frames, info = expected_frames(source.info), source.info
        for first, start, end in missing_runs(finished):
            done = _frames_in(finished.values())
            pace.skip_to(done)

            def note_progress(written: Written, done: int = done, first: int = first) -> None:
                reached = int((written.item.time - info.start_time) * info.frame_rate) - first * spec.length
                reached = max(0, reached if frames is None else min(reached, frames - done))  # gaps hold no frames
                on_progress(pace.at(done + reached, written.encoded, written.seconds))

            wanted = replace(spec, index=first, start=start)
            if end is None:
                yield from make_pieces(wanted, source, end, note_progress)
            else:  # `source` can be read only once, which the last run needs
                with open_source(self.source, self.rate, self.part) as another:
                    yield from make_pieces(wanted, another, end, note_progress)

    def _join(
        self,
        folder: WorkFolder,
        spec: PieceSpec,
        pieces: list[FinishedPiece],
        source: Source,
        warn: Callable[[str], None],
    ) -> float | None:
        """Make the whole result in the work folder, and sync it to the disk. -> as `Sink.join`"""
        if fingerprint(self.source) != folder.identity().get("source"):
            raise JobError(f"{self.source}: has changed while it was read; give --restart once it stays as it is")
        folder.report.unlink(missing_ok=True)  # left by a run that was stopped before its output got its name
        parts = [(folder.piece_path(piece.index), piece) for piece in pieces]
        return self.sink.join(parts, spec.settings, source, self._joined(folder), warn)

    def _joined(self, folder: WorkFolder) -> Path:
        return folder.path / f"joined{self.sink.path.suffix}"

    def _publish(self, folder: WorkFolder, report: Report) -> None:
        """Give the result its final name in one step, write the report beside it, and remove the work folder."""
        self._check()  # a file of that name may have been created while the job ran
        write_atomically(folder.report, report.to_json())
        self.sink.place(self._joined(folder), self.running.overwrite)
        self._clean_up(folder, report)

    def _clean_up(self, folder: WorkFolder, report: Report) -> None:
        """Write the report beside the output, and remove the work folder.

        The report in the work folder stays until the end, and marks the job as finished if this is interrupted.
        """
        copy = folder.path / "copy"
        write_atomically(copy, report.to_json())
        os.replace(copy, report_path(self.sink.base))
        folder.remove()


def _frames_in(pieces: Iterable[FinishedPiece]) -> int:
    return sum(piece.frames_in for piece in pieces)


def expected_frames(info: VideoInfo) -> int | None:
    """The frames of a source, as it declares them or by its duration; None if it says neither."""
    if info.frames:
        return info.frames
    return None if info.duration is None else max(1, round(info.duration * info.frame_rate))
