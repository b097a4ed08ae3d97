"""A job: from a source through stages into a sink, by probing, planning, making pieces, joining and reporting.

If it is killed at any moment, the same call continues it.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import refilm
from refilm.errors import JobError, VideoError
from refilm.jobs.budget import Plan, amount, around_stages, choices, free_memory, make_plan
from refilm.jobs.device import device_of
from refilm.jobs.identity import differences, digest_of
from refilm.jobs.pieces import MakeStage, PieceSpec, context_before, make_pieces, missing_runs
from refilm.jobs.placing import report_path, work_folder
from refilm.jobs.report import Report
from refilm.jobs.segments import survey
from refilm.jobs.sink import Sink
from refilm.jobs.source import Source, fingerprint, open_source
from refilm.jobs.tally import total
from refilm.jobs.work_folder import FinishedPiece, WorkFolder, disk_full_told, write_atomically
from refilm.options import Running, frame_rate
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo
from refilm.video.ffmpeg import library_versions

# Source frames in a segment: the most that is lost when a job is killed, and the longest distance between key frames.
SEGMENT_FRAMES = 64


class Progress(NamedTuple):
    """The progress of a job.

    frames         source frames that are done
    total          source frames in all; None if the file does not say
    seconds        since this run began
    resumed_from   source frames that an earlier run had done
    """

    frames: int
    total: int | None
    seconds: float
    resumed_from: int


@dataclass(frozen=True)
class Job:
    """One input, one output, and the stages in between.

    make_stage       makes the stage for a segment, from the source and the side of the tiles
    settings         everything that the results of the stages depend on; an unfinished job is continued only with the
                     same settings
    weights          names of the weight files, for the report
    leave_finished   whether to return the report of an output that this very job has already made, instead of raising
                     JobError because the output exists
    segment_frames   source frames in a segment
    """

    source: Path
    sink: Sink
    make_stage: MakeStage
    settings: dict[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    running: Running = field(default_factory=Running)
    leave_finished: bool = False
    segment_frames: int = SEGMENT_FRAMES

    def run(
        self, on_progress: Callable[[Progress], None] = lambda _: None, warn: Callable[[str], None] = lambda _: None
    ) -> Report:
        """Do the job, or the rest of it, and return the report, which is also written beside the output.

        on_progress   called after each item that is written
        warn          called with each warning for the user

        Raises VideoError if the input cannot be read or converted, JobError if the output or its folder cannot be
        written, KeyboardInterrupt when stopped. In all these cases, finished segments are kept, and the output is as it
        was before.
        """
        began = time.monotonic()
        folder = WorkFolder(work_folder(self.sink.base))
        if folder.path.exists():
            with folder.held(), disk_full_told(folder.path):
                if (report := self._placed_before(folder)) is not None:
                    return report
        if self.leave_finished and (report := self._finished_before()) is not None:
            warn(f"{self.sink.path}: this very job has made it before; it is left as it is")
            return report
        warnings: list[str] = []

        def note(message: str) -> None:
            warnings.append(message)
            warn(message)

        with self._begun(folder, note) as (source, spec):
            finished = folder.finished()
            resumed = sum(piece.frames_in for piece in finished.values())
            for piece in self._make_missing(spec, source, finished, resumed, on_progress, began):
                finished[piece.index] = piece
            pieces = [finished[index] for index in range(len(finished))]
            for warning in total(piece.tally for piece in pieces).read_losses().warnings():
                note(warning)
            self._join(folder, spec, pieces, source, note)
            source.close()  # the memory that its process took is known only after its end
            report = Report.of(
                source=source.info,
                sink=self.sink,
                encoding=spec.settings,
                pieces=pieces,
                seconds=time.monotonic() - began,
                resumed=resumed,
                identity=digest_of(self._identity(spec.settings)),
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
        with self._begun(folder, warn) as (source, spec):
            starts = folder.starts()
            if starts is None:
                stage = self.make_stage(source.info, spec.plan.tile)
                starts = survey(source, self.segment_frames, context_before(stage, self.running.scene_cuts))
                folder.keep_starts(starts)
        return [replace(spec, index=index, start=start) for index, start in enumerate(starts)]

    @contextmanager
    def _begun(self, folder: WorkFolder, warn: Callable[[str], None]) -> Iterator[tuple[Source, PieceSpec]]:
        """A context with the folder locked and all checks done. -> (the open source, the record of the first piece)"""
        self._check()
        with open_source(self.source, self._rate) as source:
            self._refuse_interlaced(source.info)
            settings = self._sink_settings(source.info, self.running.threads or os.cpu_count() or 1)
            with folder.held(), disk_full_told(folder.path):
                self._check()  # the process that held the folder may have finished the job in the meantime
                self.sink.rehearse(settings, source, folder.path, warn)
                settings, plan = self._begin_or_continue(folder, settings, source.info)
                yield (
                    source,
                    PieceSpec(
                        index=0,
                        length=self.segment_frames,
                        source=self.source,
                        start=None,
                        rate=self._rate,
                        scene_cuts=self.running.scene_cuts,
                        make_stage=self.make_stage,
                        sink=self.sink,
                        settings=settings,
                        plan=plan,
                        folder=folder.path,
                    ),
                )

    @property
    def _rate(self) -> Fraction | None:
        return None if self.running.input_fps is None else frame_rate(self.running.input_fps)

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

    def _refuse_interlaced(self, source: VideoInfo) -> None:
        if source.interlaced and not self.running.force:
            name = shlex.quote(str(source.path))
            raise VideoError(
                f"{source.path}: is interlaced: each frame holds two moments, line by line. Deinterlace first: "
                f"ffmpeg -i {name} -map 0 -c copy -c:v libx264 -crf 12 -vf bwdif OUT.mkv; "
                "or add --force, if its frames are whole pictures"
            )

    def _finished_before(self) -> Report | None:
        """The report beside the output, if it is that of this very job."""
        beside = report_path(self.sink.base)
        if self.running.overwrite or not self.sink.path.exists() or not Report.is_one(beside):
            return None
        report = Report.from_json(beside.read_text())
        with open_source(self.source, self._rate) as source:
            identity = self._identity(self._sink_settings(source.info, 1))
        return report if report.identity == digest_of(identity) else None

    def _sink_settings(self, info: VideoInfo, threads: int) -> Any:
        shape = self.make_stage(info, self.running.tile).shape(StreamShape.of(info))
        return self.sink.settings(info, shape, threads)

    def _begin_or_continue(self, folder: WorkFolder, settings: Any, info: VideoInfo) -> tuple[Any, Plan]:
        """Continue the unfinished job in the work folder, or begin a new one. -> (settings of the sink, plan)

        Raises JobError if the unfinished job is another one.
        """
        identity, former = self._identity(settings), folder.identity()
        threads = self.running.threads or os.cpu_count() or 1
        # A job may be continued on a machine with other cores or memory. It keeps its threads and tiles, so that
        # packets stay the same.
        former_threads, former_tile = former.pop("threads", threads), former.pop("tile", None)
        changed = list(differences(former, identity))
        is_planned = folder.starts() is not None and not changed
        if self.running.restart or not (folder.has_pieces() or is_planned):
            plan = self._plan(settings, info)
            folder.begin(identity | {"threads": threads, "tile": plan.tile})
            return settings, plan
        if changed:
            raise JobError(
                f"{folder.path} holds an unfinished job with other settings: {'; '.join(changed)}. "
                "Give the former settings to go on, or --restart to start afresh"
            )
        return self._sink_settings(info, former_threads), self._plan(settings, info, (former_tile,))

    def _plan(self, settings: Any, info: VideoInfo, tiles: tuple[int | None, ...] | None = None) -> Plan:
        """The plan for the memory; JobError if there is none. `tiles`: sides to choose from; None: the usual ones."""
        device, wanted = device_of(self.running.device), self.running.max_memory
        budget = 0.75 * free_memory(device) if wanted is None else amount(wanted)
        stage = self.make_stage(info, self.running.tile)
        demands = stage.demands(StreamShape.of(info))
        context = context_before(stage, True) + stage.future
        around = around_stages(info, context, *self.sink.memory(settings, info))
        if device.type != "cpu":  # there, only the models need memory, for one picture at a time
            demands, around = [replace(demand, held=0) for demand in demands], lambda _: 0
        return make_plan(demands, choices(demands, self.running.tile) if tiles is None else tiles, budget, around)

    def _identity(self, settings: Any) -> dict[str, Any]:
        """A record of everything that the output depends on, see `identity.py`."""
        running = {
            "scene_cuts": self.running.scene_cuts,
            "segment_frames": self.segment_frames,
            "rate": str(self._rate),
        }
        return {
            "refilm": refilm.__version__,
            "libavcodec": library_versions()["libavcodec"],
            "source": fingerprint(self.source),
            "settings": self.settings | running,
            "encoding": self.sink.identity(settings),
        }

    def _make_missing(
        self,
        spec: PieceSpec,
        source: Source,
        finished: dict[int, FinishedPiece],
        resumed: int,
        on_progress: Callable[[Progress], None],
        began: float,
    ) -> Iterator[FinishedPiece]:
        """Make the pieces that are missing. Consecutive ones are made in one pass over the source."""
        frames, info = _expected_frames(source.info), source.info
        for first, start, end in missing_runs(finished):
            done = sum(piece.frames_in for piece in finished.values())

            def note_progress(item: Any, done: int = done, first: int = first) -> None:
                reached = int((item.time - info.start_time) * info.frame_rate) - first * self.segment_frames
                on_progress(Progress(done + max(reached, 0), frames, time.monotonic() - began, resumed))

            wanted = replace(spec, index=first, start=start)
            if end is None:
                yield from make_pieces(wanted, source, end, note_progress)
            else:  # `source` can be read only once, which the last run needs
                with open_source(self.source, self._rate) as another:
                    yield from make_pieces(wanted, another, end, note_progress)

    def _join(
        self,
        folder: WorkFolder,
        spec: PieceSpec,
        pieces: list[FinishedPiece],
        source: Source,
        warn: Callable[[str], None],
    ) -> None:
        """Make the whole result in the work folder, and sync it to the disk."""
        if fingerprint(self.source) != folder.identity().get("source"):
            raise JobError(f"{self.source}: has changed while it was read; give --restart once it stays as it is")
        folder.report.unlink(missing_ok=True)  # left by a run that was stopped before its output got its name
        parts = [(folder.piece_path(piece.index), piece) for piece in pieces]
        self.sink.join(parts, spec.settings, source, self._joined(folder), warn)

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


def _expected_frames(info: VideoInfo) -> int | None:
    if info.frames:
        return info.frames
    return None if info.duration is None else max(1, round(info.duration * info.frame_rate))
