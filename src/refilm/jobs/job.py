"""From file to file: probe, plan, segments, join, report. Killed at any moment, the same call goes on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import shutil
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import torch

import refilm
from refilm.errors import JobError, VideoError
from refilm.jobs.background import running_ahead
from refilm.jobs.budget import Plan, around_stages, choices, free_memory, make_plan
from refilm.jobs.placing import is_placed, place_file, place_pictures, report_path, work_folder
from refilm.jobs.report import Report, Tally, lost
from refilm.jobs.segments import SegmentEnd, run_segments
from refilm.jobs.work_folder import (
    FinishedPiece,
    WorkFolder,
    fingerprint,
    sequence_fingerprint,
    sha256,
    sync,
    write_atomically,
)
from refilm.stages.scene_cuts import SceneCuts
from refilm.stages.stage import Stage, StreamShape
from refilm.video import Bookmark, Frame, ReadLosses, VideoInfo, VideoReader
from refilm.video.containers import is_sequence, sequence_files
from refilm.video.encoder import (
    X265_SMALLEST,
    EncoderSettings,
    carries_hdr10,
    choose_codec,
    choose_pix_fmt,
    encoder_options,
    output_colour,
)
from refilm.video.ffmpeg import library_versions
from refilm.video.joining import output_format, write_pictures
from refilm.video.picture_sequence import PictureSequence
from refilm.video.piece_writer import PieceWriter
from refilm.video.pixel_format import held_format

# Source frames a segment: what a kill can cost, and the longest stretch without a key frame.
SEGMENT_FRAMES = 64


@dataclass(frozen=True)
class Output:
    """Where the result goes and how it is encoded, in FFmpeg's words."""

    path: Path
    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    overwrite: bool = False


class Progress(NamedTuple):
    """Where a job is; `frames` of the source are done, of `total` (None if the file does not say)."""

    frames: int
    total: int | None
    seconds: float  # since this run began
    resumed_from: int  # source frames that an earlier run had done


@dataclass(frozen=True)
class Job:
    """One input, one output, and what is done in between.

    make_stage   a fresh stage for each segment, given the source and the side of the tiles
    settings     whatever decides the stage's result; an unfinished job goes on only under the same
    weights      file names of the weights in use, for the report
    scene_cuts   find cuts and keep the stages from mixing scenes
    rate         frames a second, if the source is a picture sequence
    force        take interlaced frames for whole pictures
    leave_finished   where the output is there already, made by this very job, leave it and return its report
    threads      of the encoder
    tile         side of the tiles in which models see large pictures; None: as memory allows
    max_memory   bytes that the job may take, on a GPU of its memory; None: three quarters of what is free
    device       where the models run
    """

    source: Path
    output: Output
    make_stage: Callable[[VideoInfo, int | None], Stage]
    settings: dict[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    scene_cuts: bool = True
    rate: Fraction | None = None
    restart: bool = False
    force: bool = False
    leave_finished: bool = False
    threads: int = os.cpu_count() or 1
    tile: int | None = None
    max_memory: float | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    segment_frames: int = SEGMENT_FRAMES

    def run(
        self, on_progress: Callable[[Progress], None] = lambda _: None, warn: Callable[[str], None] = lambda _: None
    ) -> Report:
        """Do the job, or what is left of it, and return its report, which also lies beside the output.

        Raises VideoError for the input, JobError for the output and the folder, KeyboardInterrupt when stopped; in all
        cases nothing lies under the output's name unless it was there before, and finished segments are kept.
        """
        began = time.monotonic()
        folder = WorkFolder(work_folder(self.output.path))
        if folder.path.exists():
            with folder.held(), _disk_full_told(folder.path):
                if (report := self._placed_before(folder)) is not None:
                    return report
        if self.leave_finished and (report := self._finished_before()) is not None:
            warn(f"{self.output.path}: this very job has made it before; it is left as it is")
            return report
        check_output(self.output, self.source)
        with VideoReader(self.source, self.rate) as reader:
            self._refuse_interlaced(reader.info)
            encoder = self._encoder(reader.info, self._shape(reader.info))
            with folder.held(), _disk_full_told(folder.path):
                check_output(self.output, self.source)  # whoever held the folder may just have finished
                warnings: list[str] = []

                def note(message: str) -> None:
                    warnings.append(message)
                    warn(message)

                self._rehearse(folder, encoder, reader, note)
                encoder, plan = self._begin_or_continue(folder, encoder, reader.info)
                pieces = folder.finished()
                resumed = sum(piece.frames_in for piece in pieces)
                if not pieces or pieces[-1].next_start is not None:
                    start = pieces[-1].next_start if pieces else None
                    pieces += self._make_pieces(
                        reader, encoder, plan, folder, start, len(pieces), resumed, on_progress, began
                    )
                losses = lost([piece.tally for piece in pieces])
                for warning in losses.warnings():
                    note(warning)
                self._join(folder, pieces, encoder, reader, note)
                reader.close()  # what its process took is known once it has ended
                seconds = time.monotonic() - began
                report = self._report(reader.info, pieces, encoder, losses, warnings, seconds, resumed)
                self._publish(folder, report)
        return report

    def _placed_before(self, folder: WorkFolder) -> Report | None:
        """Ends a job that was killed after its result took its name; its report if it was the one asked for now."""
        if not folder.report.exists() or not is_placed(self._joined(folder), self.output.path):
            return None
        report = Report.from_json(folder.report.read_text())
        self._clean_up(folder, report)
        asked_for = (report.source, report.settings) == (str(self.source), self.settings)
        return report if asked_for and not self.output.overwrite else None

    def _refuse_interlaced(self, source: VideoInfo) -> None:
        if source.interlaced and not self.force:
            name = shlex.quote(str(source.path))
            raise VideoError(
                f"{source.path}: is interlaced: each frame holds two moments, line by line. Deinterlace first: "
                f"ffmpeg -i {name} -map 0 -c copy -c:v libx264 -crf 12 -vf bwdif OUT.mkv; "
                "or add --force, if its frames are whole pictures"
            )

    def _finished_before(self) -> Report | None:
        """The report of this very job, if it lies beside its output."""
        beside = report_path(self.output.path)
        if self.output.overwrite or not self.output.path.exists() or not Report.is_one(beside):
            return None
        report = Report.from_json(beside.read_text())
        with VideoReader(self.source, self.rate) as reader:
            identity = self._identity(self._encoder(reader.info, self._shape(reader.info)))
        return report if report.identity == _digest(identity) else None

    def _rehearse(
        self, folder: WorkFolder, encoder: EncoderSettings, reader: VideoReader, warn: Callable[[str], None]
    ) -> None:
        """Find out and say before the work what cannot be written."""
        source = reader.info
        if source.alpha:
            warn("the transparency of the source is not carried over")
        for lost_words in source.not_carried:
            warn(f"the source has {lost_words}, which is not carried over")
        if (source.mastering_display or source.content_light) and not carries_hdr10(encoder.codec):
            warn(f"the source's HDR10 metadata is not carried over: {encoder.codec} takes none; --codec libx265 does")
        if not is_sequence(self.output.path):
            trial = folder.path / f"trial{self.output.path.suffix}"
            reader.rehearse(encoder, trial, output_format(self.output.path), warn)
            return
        for stream in source.others:
            warn(f"{stream} is left out: pictures have no place for it")
        if source.chapters:
            warn(f"{source.chapters} chapters are left out: pictures have no place for them")

    def _shape(self, info: VideoInfo) -> StreamShape:
        return self.make_stage(info, self.tile).shape(_stream_shape(info))

    def _encoder(self, info: VideoInfo, shape: StreamShape) -> EncoderSettings:
        codec = choose_codec(self.output.path, self.output.codec, info.format)
        pix_fmt = choose_pix_fmt(codec, info.format, self.output.pix_fmt)
        held = held_format(pix_fmt)
        for side, name, shift in ((shape.width, "width", held.chroma_w), (shape.height, "height", held.chroma_h)):
            if side % (1 << shift) and codec in ("libx264", "libx265"):
                raise VideoError(
                    f"{codec} cannot encode {pix_fmt} with the odd {name} {side}; "
                    "add --pix-fmt yuv444p, or a codec that can: --codec ffv1 or --codec libvpx-vp9"
                )
        if codec == "libx265" and min(shape.width, shape.height) < X265_SMALLEST:
            raise VideoError(
                f"{codec} cannot be trusted with pictures below {X265_SMALLEST} pixels a side, got "
                f"{shape.width}x{shape.height}; take another codec: --codec libx264 or --codec ffv1"
            )
        return EncoderSettings(
            codec=codec,
            format=pix_fmt,
            width=shape.width,
            height=shape.height,
            time_base=shape.time_base,
            frame_rate=shape.frame_rate.limit_denominator(1 << 20),
            sample_aspect_ratio=info.sample_aspect_ratio,
            tags=output_colour(info, pix_fmt)[0],
            threads=self.threads,
            options=encoder_options(codec, self.output.crf, self.output.preset, info),
        )

    def _begin_or_continue(
        self, folder: WorkFolder, encoder: EncoderSettings, info: VideoInfo
    ) -> tuple[EncoderSettings, Plan]:
        """The settings of the unfinished job if it is this one, else those of a new one. JobError if it differs."""
        identity = self._identity(encoder)
        former = folder.identity()
        if self.restart or not folder.has_pieces():
            plan = self._plan(encoder, info)
            folder.begin(identity | {"threads": encoder.threads, "tile": plan.tile})
            return encoder, plan
        # a machine with other cores or memory may go on: with the former threads and tiles the packets stay the same
        threads, tile = former.pop("threads", encoder.threads), former.pop("tile", None)
        differences = list(_differences(former, identity))
        if differences:
            raise JobError(
                f"{folder.path} holds an unfinished job with other settings: {'; '.join(differences)}. "
                "Give the former settings to go on, or --restart to start afresh"
            )
        return replace(encoder, threads=threads), self._plan(encoder, info, (tile,))

    def _plan(self, encoder: EncoderSettings, info: VideoInfo, tiles: tuple[int | None, ...] | None = None) -> Plan:
        """How to stay within the memory; JobError if that cannot be. `tiles`: the only ones to choose from."""
        budget = 0.75 * free_memory(self.device) if self.max_memory is None else self.max_memory
        stage = self.make_stage(info, self.tile)
        demands = stage.demands(_stream_shape(info))
        context = stage.past + stage.future + SceneCuts.context_past
        around = around_stages(encoder, info, context)
        if self.device.type != "cpu":  # only the models work there, on one picture at a time
            demands, around = [replace(demand, held=0) for demand in demands], lambda _: 0
        return make_plan(demands, choices(demands, self.tile) if tiles is None else tiles, budget, around)

    def _identity(self, encoder: EncoderSettings) -> dict[str, Any]:
        """Everything the video packets depend on, in words that can be compared and shown."""
        encoding = {
            key: value if isinstance(value, dict) else str(value)
            for key, value in asdict(encoder).items()
            if key != "threads"
        }
        return {
            "refilm": refilm.__version__,
            "libavcodec": library_versions()["libavcodec"],
            "source": self._source_now(),
            "settings": self.settings
            | {"scene_cuts": self.scene_cuts, "segment_frames": self.segment_frames, "rate": str(self.rate)},
            "encoding": encoding,
        }

    def _source_now(self) -> str:
        pictures = sequence_files(self.source) if is_sequence(self.source) else []
        return sequence_fingerprint(pictures) if pictures else fingerprint(self.source)

    def _make_pieces(
        self,
        reader: VideoReader,
        encoder: EncoderSettings,
        plan: Plan,
        folder: WorkFolder,
        start: Bookmark | None,
        first: int,
        resumed: int,
        on_progress: Callable[[Progress], None],
        began: float,
    ) -> Iterator[FinishedPiece]:
        """Decode, compute and encode from segment `first` on, in three threads; what is yielded is safe on the disk."""
        frames = iter(reader) if start is None else reader.resume_at(start)
        lead = SceneCuts.context_past if self.scene_cuts else 0
        total, info = _expected_frames(reader.info), reader.info

        def note_frame(frame: Frame) -> None:
            reached = int((frame.time - info.start_time) * info.frame_rate)
            on_progress(Progress(max(resumed, reached), total, time.monotonic() - began, resumed))

        with ExitStack() as stack:
            decoded = stack.enter_context(
                running_ahead(SceneCuts().mark(frames) if self.scene_cuts else frames, plan.queue)
            )
            results = run_segments(decoded, lambda: self.make_stage(info, plan.tile), self.segment_frames, lead, first)
            results = stack.enter_context(running_ahead(results, plan.queue))
            stack.push(lambda error, *_: reader.close() if error else None)  # nobody waits for a frame any more
            index, ended = first, False
            while not ended:
                piece = self._make_piece(index, results, encoder, folder, note_frame, reader)
                yield piece
                index, ended = index + 1, piece.next_start is None

    def _make_piece(
        self,
        index: int,
        results: Iterator[Frame | SegmentEnd],
        encoder: EncoderSettings,
        folder: WorkFolder,
        note_frame: Callable[[Frame], None],
        reader: VideoReader,
    ) -> FinishedPiece:
        """Encode up to the segment's end, and keep the piece."""
        writer = PieceWriter(folder.unfinished_path(index), encoder)
        tally = Tally()
        try:
            for item in results:
                if isinstance(item, SegmentEnd):
                    end = item
                    break
                writer.write(item)
                tally.count(item)
                note_frame(item)
            writer.close()
        except BaseException:
            writer.abort()
            raise
        own = index * self.segment_frames
        tally.close(end, reader.lost_in(own, None if end.next_start is None else own + self.segment_frames))
        piece = FinishedPiece(
            index=index,
            frames_in=end.frames_in,
            source_end=str(end.end_time),
            pts=array("q", writer.pts),
            durations=array("q", (writer.durations[pts] for pts in writer.pts)),
            sha256=sha256(folder.unfinished_path(index)),
            next_start=end.next_start,
            tally=tally.sums,
        )
        folder.keep(piece)
        return piece

    def _join(
        self,
        folder: WorkFolder,
        pieces: list[FinishedPiece],
        encoder: EncoderSettings,
        reader: VideoReader,
        warn: Callable[[str], None],
    ) -> None:
        """Make the whole result, on the disk, but not under its name; a folder if it is pictures."""
        if self._source_now() != folder.identity().get("source"):
            raise JobError(f"{self.source}: has changed while it was read; give --restart once it stays as it is")
        folder.report.unlink(missing_ok=True)  # of a run that was stopped before its result took its name
        parts = [folder.for_joining(piece) for piece in pieces if piece.pts]
        joined = self._joined(folder)
        if is_sequence(self.output.path):
            shutil.rmtree(joined, ignore_errors=True)
            joined.mkdir()
            write_pictures(parts, joined, PictureSequence(self.output.path))
        else:
            reader.join(parts, encoder, joined, output_format(self.output.path), warn)
            sync(joined)

    def _joined(self, folder: WorkFolder) -> Path:
        return folder.path / f"joined{self.output.path.suffix}"

    def _publish(self, folder: WorkFolder, report: Report) -> None:
        """Put the result under its final name in one step, the report beside it, and clean up."""
        check_output(self.output, self.source)  # somebody may have put a file there while the job ran
        write_atomically(folder.report, report.to_json())
        if is_sequence(self.output.path):
            place_pictures(self._joined(folder), self.output.path)
        else:
            place_file(self._joined(folder), self.output.path, self.output.overwrite)
        self._clean_up(folder, report)

    def _clean_up(self, folder: WorkFolder, report: Report) -> None:
        """A copy of the report goes beside the result; the folder's own says until the end that all is done."""
        copy = folder.path / "copy"
        write_atomically(copy, report.to_json())
        os.replace(copy, report_path(self.output.path))
        folder.remove()

    def _report(
        self,
        info: VideoInfo,
        pieces: list[FinishedPiece],
        encoder: EncoderSettings,
        losses: ReadLosses,
        warnings: list[str],
        seconds: float,
        resumed: int,
    ) -> Report:
        frames_in = sum(piece.frames_in for piece in pieces)
        shown = [piece for piece in pieces if piece.pts]
        end = max(pts + length for pts, length in zip(shown[-1].pts, shown[-1].durations, strict=True))
        return Report.of(
            source=info,
            output=self.output.path,
            frames_in=frames_in,
            frames_out=sum(len(piece.pts) for piece in pieces),
            dropped=losses.out_of_order,
            tallies=[piece.tally for piece in pieces],
            span_in=(info.start_time, Fraction(pieces[-1].source_end)),
            span_out=(min(shown[0].pts) * encoder.time_base, end * encoder.time_base),
            seconds=seconds,
            frames_this_run=frames_in - resumed,
            identity=_digest(self._identity(encoder)),
            settings=self.settings,
            weights=list(self.weights),
            encoder=encoder,
            warnings=warnings,
        )


def check_output(output: Output, source: Path) -> None:
    """JobError or VideoError if the output cannot be written where it is wanted; nothing is touched."""
    path = output.path
    folder = path.parent.resolve()
    if is_sequence(path):
        if folder == Path.cwd():
            raise JobError(f"{path}: name a folder of its own for the pictures, such as frames/{path.name}")
        if is_sequence(source) and source.parent.resolve() == folder:
            raise JobError(f"{folder}: holds the input; write to another folder")
        if folder.exists() and any(folder.iterdir()) and not output.overwrite:
            raise JobError(f"{folder}: is not empty; choose another folder, or --overwrite to replace its pictures")
        folder = folder.parent
    else:
        output_format(path)
        if path.is_dir():
            raise JobError(f"{path}: is a folder; give the name of a file in it")
        if path.exists() and source.exists() and path.samefile(source):
            raise JobError(f"{path}: is the input; write to another name")
        if path.exists() and not output.overwrite:
            raise JobError(f"{path}: exists; choose another name, or add --overwrite")
    if not folder.is_dir():
        raise JobError(f"{folder}: no such folder; create it first")
    if not os.access(folder, os.W_OK):
        raise JobError(f"{folder}: cannot write here: permission denied")
    report = report_path(path)
    if report.exists() and not output.overwrite and not Report.is_one(report):
        raise JobError(
            f"{report}: exists and is no report of refilm's, which goes there; move it away, or add --overwrite"
        )


def _stream_shape(info: VideoInfo) -> StreamShape:
    return StreamShape(info.width, info.height, info.frame_rate, info.time_base, info.start_time)


def _expected_frames(info: VideoInfo) -> int | None:
    if info.frames:
        return info.frames
    return None if info.duration is None else max(1, round(info.duration * info.frame_rate))


def _digest(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _differences(former: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted(former.keys() | now.keys()):
        before, after = former.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key} was {before}, now is {after}"


@contextmanager
def _disk_full_told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise JobError(
                f"{folder.parent}: the disk is full; make room and run the same command again, "
                f"finished segments are kept in {folder.name}"
            ) from error
        raise JobError(f"{error.filename or folder}: {error.strerror}") from error
