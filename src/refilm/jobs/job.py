"""From a source through stages into a sink: probe, plan, segments, join, report.

Killed at any moment, the same call goes on.
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

# Source frames a segment: what a kill can cost, and the longest stretch without a key frame.
SEGMENT_FRAMES = 64


class Progress(NamedTuple):
    """Where a job is; `frames` of the source are done, of `total` (None if the file does not say)."""

    frames: int
    total: int | None
    seconds: float  # since this run began
    resumed_from: int  # source frames that an earlier run had done


@dataclass(frozen=True)
class Job:
    """One input, one output, and what is done in between.

    make_stage       a fresh stage for each segment, given the source and the side of the tiles
    settings         whatever decides the stage's result; an unfinished job goes on only under the same
    weights          file names of the weights in use, for the report
    leave_finished   where the output is there already, made by this very job, leave it and return its report
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
        """Do the job, or what is left of it, and return its report, which also lies beside the output.

        Raises VideoError for the input, JobError for the output and the folder, KeyboardInterrupt when stopped; in all
        cases nothing lies under the output's name unless it was there before, and finished segments are kept.
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
            source.close()  # what its process took is known once it has ended
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
        """A record for each piece, for `refilm.jobs.pieces.make_piece` in any process; `run` then joins what is made.

        Decodes the source once, without any model, to know where each piece begins; that stands in the work folder, and
        is not done again. Raises as `run`.
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
        """The source, open, and what the first piece is made from, with the folder held and everything checked."""
        self._check()
        with open_source(self.source, self._rate) as source:
            self._refuse_interlaced(source.info)
            settings = self._sink_settings(source.info, self.running.threads or os.cpu_count() or 1)
            with folder.held(), disk_full_told(folder.path):
                self._check()  # whoever held the folder may just have finished
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
        """JobError or VideoError if the output cannot be written where it is wanted; nothing is touched."""
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
        """Ends a job that was killed after its result took its name; its report if it was the one asked for now."""
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
        """The report of this very job, if it lies beside its output."""
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
        """The settings of the unfinished job if it is this one, else those of a new one. JobError if it differs."""
        identity, former = self._identity(settings), folder.identity()
        threads = self.running.threads or os.cpu_count() or 1
        # a machine with other cores or memory may go on: with the former threads and tiles the packets stay the same
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
        """How to stay within the memory; JobError if that cannot be. `tiles`: the only ones to choose from."""
        device, wanted = device_of(self.running.device), self.running.max_memory
        budget = 0.75 * free_memory(device) if wanted is None else amount(wanted)
        stage = self.make_stage(info, self.running.tile)
        demands = stage.demands(StreamShape.of(info))
        context = context_before(stage, True) + stage.future
        around = around_stages(info, context, *self.sink.memory(settings, info))
        if device.type != "cpu":  # only the models work there, on one picture at a time
            demands, around = [replace(demand, held=0) for demand in demands], lambda _: 0
        return make_plan(demands, choices(demands, self.running.tile) if tiles is None else tiles, budget, around)

    def _identity(self, settings: Any) -> dict[str, Any]:
        """Everything the output depends on, in words that can be compared and shown."""
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
        """All that is not finished yet: each run of missing pieces with one reading without a stop."""
        frames, info = _expected_frames(source.info), source.info
        for first, start, end in missing_runs(finished):
            done = sum(piece.frames_in for piece in finished.values())

            def note_progress(item: Any, done: int = done, first: int = first) -> None:
                reached = int((item.time - info.start_time) * info.frame_rate) - first * self.segment_frames
                on_progress(Progress(done + max(reached, 0), frames, time.monotonic() - began, resumed))

            wanted = replace(spec, index=first, start=start)
            if end is None:
                yield from make_pieces(wanted, source, end, note_progress)
            else:  # `source` can be read once only, and the last gap reads it to its end
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
        """Make the whole result, on the disk, but not under its name."""
        if fingerprint(self.source) != folder.identity().get("source"):
            raise JobError(f"{self.source}: has changed while it was read; give --restart once it stays as it is")
        folder.report.unlink(missing_ok=True)  # of a run that was stopped before its result took its name
        parts = [(folder.piece_path(piece.index), piece) for piece in pieces]
        self.sink.join(parts, spec.settings, source, self._joined(folder), warn)

    def _joined(self, folder: WorkFolder) -> Path:
        return folder.path / f"joined{self.sink.path.suffix}"

    def _publish(self, folder: WorkFolder, report: Report) -> None:
        """Put the result under its final name in one step, the report beside it, and clean up."""
        self._check()  # somebody may have put a file there while the job ran
        write_atomically(folder.report, report.to_json())
        self.sink.place(self._joined(folder), self.running.overwrite)
        self._clean_up(folder, report)

    def _clean_up(self, folder: WorkFolder, report: Report) -> None:
        """A copy of the report goes beside the result; the folder's own says until the end that all is done."""
        copy = folder.path / "copy"
        write_atomically(copy, report.to_json())
        os.replace(copy, report_path(self.sink.base))
        folder.remove()


def _expected_frames(info: VideoInfo) -> int | None:
    if info.frames:
        return info.frames
    return None if info.duration is None else max(1, round(info.duration * info.frame_rate))
