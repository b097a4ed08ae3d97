"""Jobs with a pipe at an end: from standard input, to standard output, or both.

What comes through a pipe cannot be read again, so these jobs are not continued after a stop. A job from standard input
into a file is otherwise like any other; standard output gets uncompressed video (y4m), frame by frame.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from refilm.errors import UsageError
from refilm.jobs.background import running_ahead
from refilm.jobs.device import check_device, with_threads
from refilm.jobs.encoded import Encoded
from refilm.jobs.identity import digest_of
from refilm.jobs.job import Job, Start, expected_frames
from refilm.jobs.memory_meter import MemoryMeter
from refilm.jobs.pace import Pace, Progress
from refilm.jobs.placing import work_folder
from refilm.jobs.planning import identity_of, memory_plan
from refilm.jobs.report import Report
from refilm.jobs.segments import SegmentEnd, run_segments
from refilm.jobs.source import Source, open_source
from refilm.jobs.tally import Tally
from refilm.jobs.trial import stage_seconds
from refilm.jobs.work_folder import FinishedPiece, WorkFolder
from refilm.options import Encoding, Running
from refilm.stages.scene_cuts import SceneCuts
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo
from refilm.video.colour import guess_colour
from refilm.video.handles import STANDARD_INPUT
from refilm.video.pixel_format import held_format
from refilm.video.y4m import Y4mSettings, Y4mWriter, y4m_format

if TYPE_CHECKING:
    from refilm.jobs.budget import Plan

STANDARD_OUTPUT = Path("-")
_ENDLESS = 1 << 40  # source frames in a segment: all are in the first
# Frames that may be repeated or left out without a word: the first frame of a film may be longer than the others.
_FEW = 1


def check_terminals(source: Path, output: Path) -> None:
    """Raises UsageError if a pipe is wanted where there is a terminal."""
    if source == STANDARD_INPUT and os.isatty(0):
        raise UsageError("- is standard input, which is a terminal here; pipe a video into it, or name a file")
    if output == STANDARD_OUTPUT and os.isatty(1):
        raise UsageError("- is standard output, which is a terminal here; pipe it into a program, or name a file")


def refuse_parts(source: Path, output: Path, running: Running) -> None:
    """Raises UsageError for what needs files, a part, a preview or other machines, where there is a pipe."""
    if running.on is not None and Path("-") in (source, output):
        raise UsageError("--on needs files, which many machines can read; name both instead of -")
    if running.preview is not None and Path("-") in (source, output):
        raise UsageError("--preview makes files from a file; name both instead of -")
    if running.part is not None and source == STANDARD_INPUT:
        raise UsageError("--from and --to need a file, since standard input cannot be read at any place; name the file")


def run_from_pipe(
    job: Job,
    on_progress: Callable[[Progress], None],
    warn: Callable[[str], None],
    on_start: Callable[[Start], None],
    on_step: Callable[[str], None],
) -> Report:
    """Run a job from standard input into a file. Nothing of it is left after a failure or a stop. Raises as `Job.run`.

    A work folder that a former job has left is not touched, and refused: it may be that of another job.
    """
    folder = WorkFolder(work_folder(job.sink.base))
    was_there = folder.path.exists()
    try:
        return job.run(on_progress, warn, on_start, on_step)
    except BaseException:
        if not was_there and folder.path.exists():
            folder.remove()
        raise


@dataclass(frozen=True)
class Y4mOutput:
    """What a Job asks of its sink, for uncompressed video on standard output."""

    encoding: Encoding
    path: Path = Path("standard output")

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> Y4mSettings:
        for name in ("codec", "crf", "preset"):
            if getattr(self.encoding, name) is not None:
                raise UsageError(f"standard output gets uncompressed video (y4m); leave out --{name}, or name a file")
        if self.encoding.purpose is not None or self.encoding.audio not in (None, "none"):
            raise UsageError("standard output gets pictures alone, as y4m; leave out --for and --audio, or name a file")
        wanted = source.format if self.encoding.pix_fmt is None else held_format(self.encoding.pix_fmt)
        fmt = y4m_format(wanted)
        if self.encoding.pix_fmt not in (None, fmt.name):
            raise UsageError(f"y4m has no {self.encoding.pix_fmt}; take --pix-fmt {fmt.name}, or leave it out")
        colour = source.colour
        if fmt.kind != source.format.kind:
            colour = guess_colour(shape.width, shape.height, fmt.kind)
        rate = shape.frame_rate.limit_denominator(1 << 20)
        return Y4mSettings(fmt, colour, shape.width, shape.height, rate, source.sample_aspect_ratio)

    def described(self, settings: Y4mSettings) -> dict[str, str]:
        return {"codec": "rawvideo", "pix_fmt": settings.format.name}

    def identity(self, settings: Y4mSettings) -> dict[str, Any]:
        return {key: str(value) for key, value in asdict(settings).items()}

    def memory(self, settings: Y4mSettings, source: VideoInfo) -> tuple[float, float]:
        from refilm.jobs.budget import picture_bytes  # loads torch

        return 0.0, picture_bytes(settings.format, settings.width, settings.height)

    def warn_of_losses(self, settings: Y4mSettings, source: VideoInfo, warn: Callable[[str], None]) -> None:
        """Warn of what y4m has no place for."""
        Encoded.warn_of_marks(source, warn)
        for stream in source.others:
            warn(f"{stream} is left out: y4m holds pictures only")
        if source.chapters:
            warn(f"{source.chapters} chapters are left out: y4m holds pictures only")
        assumed = guess_colour(settings.width, settings.height, settings.format.kind)
        names = ("matrix", "primaries", "transfer")
        lost = [f"{name} {getattr(settings.colour, name)}" for name in names]
        if settings.format.kind == "yuv" and lost != [f"{name} {getattr(assumed, name)}" for name in names]:
            warn(f"y4m does not say the colour, which the next program has to be told: {', '.join(lost)}")


@dataclass(frozen=True)
class JobAtOnce(Job):
    """A job without pieces: items go to their writer as they are made, and it cannot be continued."""

    def run(
        self,
        on_progress: Callable[[Progress], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
        on_start: Callable[[Start], None] = lambda _: None,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> Report:
        """Do the job, and return the report, which is not written anywhere. Raises as `Job.run`, and BrokenPipeError
        if the reader of standard output has ended."""
        if self.running.on is not None:
            raise UsageError("--on is for what is written to a file; name one, or leave it out")
        began, warnings = time.monotonic(), list[str]()

        def note(message: str) -> None:
            warnings.append(message)
            warn(message)

        check_device(self.running.device)
        on_step(f"reading {self.source.name}")
        opened = open_source(self.source, self.rate, self.part)
        with MemoryMeter() as meter, self.writing() as begin, opened as source, with_threads(self.running.threads):
            self._refuse_interlaced(source.info)
            settings = self.sink_settings(source.info, 1)
            self.warn_of_losses(settings, source.info, note)
            on_step("measuring memory")
            plan, expected = memory_plan(self, settings, source.info), expected_frames(source.info)
            on_start(Start(expected, 0, self.seconds_for(source.info), plan.memory, _ENDLESS, plan.tile))
            pace = Pace(expected, began=began)

            def note_progress(item: Any) -> None:
                done = int((item.time - source.info.start_time) * source.info.frame_rate)
                done = done if expected is None else min(done, expected)  # gaps hold no frames
                on_progress(pace.at(done))

            piece = self._write(begin(settings), source, plan, note_progress, note)
        return Report.of(
            source=source.info,
            sink=self.sink,
            encoding=settings,
            pieces=[piece],
            drift=None,
            seconds=time.monotonic() - began,
            resumed=0,
            peak=meter.peak,
            planned=plan.memory,
            identity=digest_of(identity_of(self, settings)),
            settings=self.settings,
            weights=list(self.weights),
            warnings=warnings,
        )

    @contextmanager
    def writing(self) -> Iterator[Callable[[Any], Any]]:
        """A context in which items can be written: makes a writer for the settings of the sink."""
        raise NotImplementedError
        yield

    def seconds_for(self, source: VideoInfo) -> float | None:
        """Seconds that the stages are expected to take, a rough figure; None: not measured."""
        return None

    def warn_of_losses(self, settings: Any, source: VideoInfo, warn: Callable[[str], None]) -> None:
        """Warn, before the work, of what is lost."""

    def warn_of_changes(self, writer: Any, warn: Callable[[str], None]) -> None:
        """Warn, after the work, of what the writer had to do."""

    def _write(
        self,
        writer: Any,
        source: Source,
        plan: Plan,
        on_item: Callable[[Any], None],
        warn: Callable[[str], None],
    ) -> FinishedPiece:
        """Write all items. -> the record of the only piece, for the report"""
        tally = Tally()
        for item in self._items(source, plan):
            if isinstance(item, SegmentEnd):
                end = item
                break
            writer.write(item)
            tally.count(item)
            on_item(item)
        tally.close(end, source.lost_in(0, None))
        for message in (*self._advice(source.info, tally).values(), *tally.read_losses().warnings()):
            warn(message)
        self.warn_of_changes(writer, warn)
        return FinishedPiece(0, end.frames_in, str(end.end_time), array("q"), array("q"), "", None, tally)

    def _items(self, source: Source, plan: Plan) -> Iterator[Any]:
        """What the stages make, and a SegmentEnd at the end. Reading and computing run in threads of their own."""
        cuts = self.running.scene_cuts
        frames = SceneCuts().mark(iter(source)) if cuts else iter(source)
        with ExitStack() as stack:
            decoded = stack.enter_context(running_ahead(frames, plan.queue))
            lead = SceneCuts.context_past if cuts else 0
            items = run_segments(decoded, lambda: self.make_stage(source.info, plan.tile), _ENDLESS, lead)
            results = stack.enter_context(running_ahead(items, plan.queue))
            # so that no thread keeps waiting for a frame
            stack.callback(source.close)
            yield from results


@dataclass(frozen=True)
class JobOfEvents(JobAtOnce):
    """A job whose events are told to a function, and not written."""

    takes_interlaced: bool = True

    def seconds_for(self, source: VideoInfo) -> float | None:
        frames = expected_frames(source)
        return None if frames is None else frames * stage_seconds(self.make_stage, source)


@dataclass(frozen=True)
class JobToPipe(JobAtOnce):
    """A job whose sink is a Y4mOutput: frames are written to standard output."""

    @contextmanager
    def writing(self) -> Iterator[Callable[[Y4mSettings], Y4mWriter]]:
        with standard_output() as output:
            yield lambda settings: Y4mWriter(output, settings)
            output.flush()

    def warn_of_losses(self, settings: Y4mSettings, source: VideoInfo, warn: Callable[[str], None]) -> None:
        assert isinstance(self.sink, Y4mOutput)
        self.sink.warn_of_losses(settings, source, warn)

    def warn_of_changes(self, writer: Y4mWriter, warn: Callable[[str], None]) -> None:
        if writer.repeated + writer.left_out > _FEW:
            warn(
                f"the times of the frames are uneven, and y4m has one rate: {writer.repeated} frames were repeated "
                f"and {writer.left_out} left out; name a file to keep their times"
            )


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Standard output for binary data. What else is printed there meanwhile goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        output = os.fdopen(os.dup(kept), "wb")
        try:
            yield output
        finally:
            with suppress(BrokenPipeError):  # which was raised before
                output.close()
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
