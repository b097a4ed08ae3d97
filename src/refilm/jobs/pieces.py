"""Making pieces, each from a record of all that it depends on: in any process, on any machine, in any order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from refilm.jobs.background import running_ahead
from refilm.jobs.segments import SegmentEnd, run_segments
from refilm.jobs.sink import Sink, written
from refilm.jobs.source import Source, open_source
from refilm.jobs.tally import Tally
from refilm.jobs.work_folder import FinishedPiece, WorkFolder, sha256
from refilm.stages.scene_cuts import SceneCuts
from refilm.stages.stage import Stage
from refilm.video import Bookmark, Part, VideoInfo

if TYPE_CHECKING:
    from refilm.jobs.budget import Plan  # loads torch

MakeStage = Callable[[VideoInfo, int | None], Stage]  # from the source and the side of the tiles


@dataclass(frozen=True)
class PieceSpec:
    """A record of all that a piece depends on. It can be pickled if `make_stage` can, such as TaskStages.

    index        number of the segment, from 0
    length       source frames in a segment; this one's own begin at number index * length
    start        where reading begins: number, time and digest of a frame; None: at the first frame
    rate         frame rate of a source without times, such as numbered pictures
    part         the part of the source that the job works on; None: all of it
    scene_cuts   whether to find scene cuts
    settings     of the sink
    folder       the work folder, where the piece is written
    """

    index: int
    length: int
    source: Path
    start: Bookmark | None
    rate: Fraction | None
    part: Part | None
    scene_cuts: bool
    make_stage: MakeStage
    sink: Sink
    settings: Any
    plan: Plan
    folder: Path


class Written(NamedTuple):
    """An item that was given to the writer of its piece.

    encoded   share of the piece's items so far that have left the encoder; the others wait in it
    seconds   that writing the piece has taken until now
    """

    item: Any
    encoded: float
    seconds: float


def context_before(stage: Stage, scene_cuts: bool) -> int:
    """The number of source frames before a segment's own that have to be read for it."""
    return stage.past + (SceneCuts.context_past if scene_cuts else 0)


def make_piece(spec: PieceSpec) -> FinishedPiece:
    """Make one piece, and keep it in the work folder. Raises what the source, the stages and the disk raise."""
    with open_source(spec.source, spec.rate, spec.part) as source:
        (piece,) = make_pieces(spec, source, spec.index + 1)
    return piece


def make_pieces(
    spec: PieceSpec, source: Source, end: int | None = None, on_item: Callable[[Written], None] = lambda _: None
) -> Iterator[FinishedPiece]:
    """Make consecutive pieces from that of `spec` on, in one pass over the source, which is faster than one by one.

    Reading, computing and writing run in three threads. A piece is yielded when it is safe on the disk.

    source   open and not yet read
    end      number of the first piece that is not wanted; None: up to the last one
    on_item  called after each item
    """
    frames = iter(source) if spec.start is None else source.resume_at(spec.start)
    marked = SceneCuts().mark(frames) if spec.scene_cuts else frames
    with ExitStack() as stack:
        decoded = stack.enter_context(running_ahead(marked, spec.plan.queue))
        items = run_segments(
            decoded,
            lambda: spec.make_stage(source.info, spec.plan.tile),
            spec.length,
            SceneCuts.context_past if spec.scene_cuts else 0,
            spec.index,
            end,
        )
        results = stack.enter_context(running_ahead(items, spec.plan.queue))
        stack.push(lambda error, *_: source.close() if error else None)  # so that no thread keeps waiting for a frame
        index, ended = spec.index, False
        while not ended and index != end:
            piece = _write_piece(replace(spec, index=index), results, source, on_item)
            yield piece
            index, ended = index + 1, piece.next_start is None


def missing_runs(finished: dict[int, FinishedPiece]) -> Iterator[tuple[int, Bookmark | None, int | None]]:
    """Runs of missing pieces.

    -> for each run: number of its first piece; where to begin reading for it; number of the next finished piece, or
       None if there is none and the run goes on to the end of the source

    `finished` may grow during the iteration.
    """
    start: Bookmark | None = None
    for index in count():
        if index not in finished:
            end = min((other for other in finished if other > index), default=None)
            yield index, start, end
        if index not in finished:  # the source ended within the run
            return
        start = finished[index].next_start
        if start is None:
            return


def _write_piece(
    spec: PieceSpec, results: Iterator[Any], source: Source, on_item: Callable[[Written], None]
) -> FinishedPiece:
    """Write the items of one segment, and keep the piece."""
    folder = WorkFolder(spec.folder)
    path = folder.unfinished_path(spec.index)
    writer = spec.sink.writer(path, spec.settings)
    tally, seconds, count = Tally(), 0.0, 0
    try:
        for item in results:
            if isinstance(item, SegmentEnd):
                end = item
                break
            began = time.monotonic()
            writer.write(item)
            seconds, count = seconds + time.monotonic() - began, count + 1
            tally.count(item)
            on_item(Written(item, len(writer.pts) / count if writer.durations else 1.0, seconds))
        writer.close()
    except BaseException:
        writer.abort()
        raise
    own = spec.index * spec.length
    tally.close(end, source.lost_in(own, None if end.next_start is None else own + spec.length))
    piece = FinishedPiece(
        index=spec.index,
        frames_in=end.frames_in,
        source_end=str(end.end_time),
        **written(writer),
        sha256=sha256(path),
        next_start=end.next_start,
        tally=tally,
    )
    folder.keep(piece)
    return piece
