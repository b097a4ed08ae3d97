"""What is decided before the work, and kept with the job: the tile, the threads, and how long the segments are."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import refilm
from refilm.errors import JobError
from refilm.jobs.device import device_of
from refilm.jobs.identity import differences
from refilm.jobs.pieces import context_before
from refilm.jobs.source import fingerprint
from refilm.jobs.trial import encoder_seconds, stage_seconds
from refilm.jobs.work_folder import WorkFolder
from refilm.stages.repeats import RepeatMarker
from refilm.stages.scene_cuts import SceneCuts
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo
from refilm.video.ffmpeg import library_versions

if TYPE_CHECKING:
    from refilm.jobs.budget import Plan
    from refilm.jobs.job import Job

# Source frames in a segment: the most that is lost when a job is killed, and the distance between key frames. Each
# segment makes some frames of context again, and its key frame takes room: docs/choices.md has the measured figures.
LONGEST, SHORTEST = 64, 16
# Seconds of work in a segment, unless that makes it shorter or longer than this.
SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decided:
    """What was decided before the work.

    settings        of the sink
    segment_frames  source frames in a segment
    frame_seconds   that a source frame is expected to take; None: not measured
    encode_seconds  of these, what the encoder takes
    """

    settings: Any
    plan: Plan
    segment_frames: int
    frame_seconds: float | None
    encode_seconds: float


def segment_length(frame_seconds: float) -> int:
    """Source frames in a segment, from the seconds that one takes."""
    return max(SHORTEST, min(LONGEST, int(SECONDS / max(frame_seconds, 1e-9))))


def begin_or_continue(
    job: Job, folder: WorkFolder, settings: Any, info: VideoInfo, on_step: Callable[[str], None]
) -> Decided:
    """Continue the unfinished job in the work folder, or begin a new one.

    settings  of the sink
    on_step   is told what takes a while

    Raises JobError if the unfinished job is another one, or if the job does not fit into the memory.
    """
    identity, former = identity_of(job, settings), folder.identity()
    threads = job.running.threads or os.cpu_count() or 1
    # A job may be continued on a machine with other cores or memory, or that is busier. It keeps its threads, tiles and
    # segments, so that packets stay the same.
    kept = {
        name: former.pop(name, None)
        for name in ("threads", "tile", "segment_frames", "frame_seconds", "encode_seconds")
    }
    changed = list(differences(former, identity))
    if job.segment_frames not in (None, kept["segment_frames"]):
        changed.append(f"segment_frames was {kept['segment_frames']}, now is {job.segment_frames}")
    is_planned = folder.starts() is not None and not changed
    if job.running.restart or not (folder.has_pieces() or is_planned):
        on_step("measuring memory and speed")
        plan = memory_plan(job, settings, info)
        each, encoding, length = None, 0.0, job.segment_frames
        if length is None:
            encoding = encoder_seconds(job.sink, settings, info)
            each = stage_seconds(job.make_stage, info) + encoding
            length = segment_length(each)
        kept = {"threads": threads, "tile": plan.tile, "segment_frames": length}
        folder.begin(identity | kept | {"frame_seconds": each, "encode_seconds": encoding})
        return Decided(settings, plan, length, each, encoding)
    if changed:
        raise JobError(
            f"{folder.path} holds an unfinished job with other settings: {'; '.join(changed)}. "
            "Give the former settings to go on, or --restart to start afresh"
        )
    on_step("measuring memory")
    plan = memory_plan(job, settings, info, (kept["tile"],))
    settings = job.sink_settings(info, kept["threads"] or threads)
    length, each = kept["segment_frames"] or LONGEST, kept["frame_seconds"]
    return Decided(settings, plan, length, each, kept["encode_seconds"] or 0.0)


def memory_plan(job: Job, settings: Any, info: VideoInfo, tiles: tuple[int | None, ...] | None = None) -> Plan:
    """The plan for the memory; JobError if there is none. `tiles`: sides to choose from; None: the usual ones."""
    # imported here, because it loads torch; what is wrong with files has been told by now
    from refilm.jobs.budget import amount, around_stages, choices, free_memory, make_plan

    device, wanted = device_of(job.running.device), job.running.max_memory
    budget = 0.75 * free_memory(device) if wanted is None else amount(wanted)
    stage = job.make_stage(info, job.running.tile)
    demands = stage.demands(StreamShape.of(info))
    context = context_before(stage, True) + SceneCuts.context_future + stage.future + RepeatMarker.past
    around = around_stages(info, context, *job.sink.memory(settings, info))
    if device.type != "cpu":  # there, only the models need memory, for one picture at a time
        demands, around = [replace(demand, held=0) for demand in demands], lambda _: 0
    plan = make_plan(demands, choices(demands, job.running.tile) if tiles is None else tiles, budget, around)
    for demand in demands:
        _log.debug("%s", demand)
    _log.debug("%s of a budget of %.0f MB for %s", plan, budget / 1e6, job.source)
    return plan


def identity_of(job: Job, settings: Any) -> dict[str, Any]:
    """A record of everything that the output depends on, see `identity.py`. `settings`: of the sink."""
    return {
        "refilm": refilm.__version__,
        "libavcodec": library_versions()["libavcodec"],
        "source": fingerprint(job.source),
        "settings": job.settings | {"scene_cuts": job.running.scene_cuts, "rate": str(job.rate)} | _part(job),
        "encoding": job.sink.identity(settings),
    }


def _part(job: Job) -> dict[str, str]:
    """The part of the source that is wanted, in seconds."""
    return {} if job.part is None else {"part": " to ".join("end" if at is None else str(at) for at in job.part)}
