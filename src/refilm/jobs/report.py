"""The report of a job: what was done to the frames, and how well."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from refilm.jobs.sink import Sink
from refilm.jobs.tally import Tally, total
from refilm.jobs.work_folder import FinishedPiece
from refilm.stages.findings import JUDGED, Change, Judged, SelfCheck
from refilm.video import VideoInfo


@dataclass(frozen=True)
class SelfCheckResult:
    """PSNR, in dB of RGB, of real frames of the film that were predicted from their two neighbours, see SelfCheck."""

    frames: int
    model: float
    blend: float
    repeat: float


@dataclass(frozen=True)
class WholeEstimate:
    """What a preview says of the whole job.

    picture     path of the picture of before and after
    frames      source frames of the whole; None if the source does not say
    seconds     that the whole takes; None if that cannot be told
    megabytes   of the whole result
    """

    picture: str
    frames: int | None
    seconds: float | None
    megabytes: float | None


@dataclass(frozen=True)
class Report:
    """The content of the JSON file beside the output. Times are in seconds.

    frames_in, frames_out   frames of the source, and of the output
    frames_kept         source frames that are in the output unchanged
    frames_restored     source frames that a model has changed
    frames_new          interpolated frames
    frames_repeated     frames that repeat another, at scene cuts and at the end
    frames_left_out     source frames that the wanted frame rate has no place for, and repeats that were dropped
    events              number of events, if the job makes events
    duration_in, duration_out   from the beginning of the first frame to the end of the last
    av_drift            how late the copied sound is against the picture in the written file, compared with the source:
                        at its beginning, middle or end, where it is most; None if no sound was copied
    colour_change       for each plane, mean code of the frames that models have made, minus that of the source's
                        frames, in 8-bit codes; None without such frames
    self_check          how well the model predicts real frames of this film; None without interpolation
    restoration         for each kind of restoration, the mean absolute change of a sample in 8-bit codes; the result of
                        an upscaling is reduced to the size of its input first
    seconds, frames_per_second, real_time_factor   time of the last run, and its speed in output frames and output
                        seconds
    peak_memory_mb      the most that this process and those it started had in use at one moment, in MB of 10^6 bytes
    planned_memory_mb   the most that the job was planned to take, in MB of 10^6 bytes
    identity            digest of the job's identity: source, settings, weights, versions and encoding
    settings            of the tasks, the device, the tiles and the precision
    weights             names of the weight files
    encoder             settings of the sink
    warnings            as they were given to the user
    whole               what the whole would take; None unless this is a preview
    measured            for each restoration whose strength was measured on the film, means over its frames: the
                        strength, 0 ... 1; the noise found, in 8-bit codes; the damage by compression found, 0 ... 1
    """

    source: str
    output: str
    frames_in: int
    frames_out: int
    frames_kept: int
    frames_restored: int
    frames_new: int
    frames_repeated: int
    frames_left_out: int
    events: int
    duration_in: float
    duration_out: float
    av_drift: float | None
    colour_change: list[float] | None
    self_check: SelfCheckResult | None
    restoration: dict[str, float]
    seconds: float
    frames_per_second: float
    real_time_factor: float
    peak_memory_mb: float
    planned_memory_mb: float
    identity: str
    settings: dict[str, Any]
    weights: list[str]
    encoder: dict[str, str]
    warnings: list[str]
    whole: WholeEstimate | None = None
    measured: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        source: VideoInfo,
        sink: Sink,
        encoding: Any,
        pieces: Sequence[FinishedPiece],
        drift: float | None,
        seconds: float,
        resumed: int,
        peak: float,
        planned: float,
        identity: str,
        settings: dict[str, Any],
        weights: list[str],
        warnings: list[str],
    ) -> Report:
        """The report of a finished job.

        encoding   settings of the sink
        drift      as `Sink.join` gave it
        seconds    that this run took
        resumed    number of source frames that earlier runs had done
        peak       bytes of memory that the job has taken, see MemoryMeter
        planned    bytes of memory that this run was planned to take at most
        """
        all_in_all = total(piece.tally for piece in pieces)
        count, frames_in = all_in_all.frames, sum(piece.frames_in for piece in pieces)
        span_in = source.start_time, Fraction(pieces[-1].source_end)
        span_out = _span(pieces, encoding) or span_in
        share = Fraction(frames_in - resumed, max(frames_in, 1))
        return cls(
            source=str(source.path),
            output=str(sink.path),
            frames_in=frames_in,
            frames_out=count.total(),
            frames_kept=count["source"],
            frames_restored=count["restored"],
            frames_new=count["new"],
            frames_repeated=count["repeated"],
            frames_left_out=frames_in - count["source"] - count["restored"] if count else 0,
            events=all_in_all.events,
            duration_in=float(span_in[1] - span_in[0]),
            duration_out=float(span_out[1] - span_out[0]),
            av_drift=drift,
            colour_change=_colour_change(all_in_all, frames_in, source.format.bits),
            self_check=_self_check(all_in_all),
            restoration=_restoration(all_in_all),
            measured=_measured(all_in_all),
            seconds=round(seconds, 3),
            frames_per_second=round(float((count.total() or frames_in) * share) / seconds, 3),
            real_time_factor=round(float((span_out[1] - span_out[0]) * share) / seconds, 4),
            peak_memory_mb=round(peak / 1e6, 1),
            planned_memory_mb=round(planned / 1e6, 1),
            identity=identity,
            settings=settings,
            weights=weights,
            encoder=sink.described(encoding),
            warnings=warnings,
        )

    @property
    def makes_events(self) -> bool:
        """Whether the job made events instead of frames."""
        return self.frames_in > 0 and self.frames_out == self.frames_left_out == 0

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        record = json.loads(text)
        check, whole = record.pop("self_check"), record.pop("whole", None)
        return cls(
            **record,
            self_check=None if check is None else SelfCheckResult(**check),
            whole=None if whole is None else WholeEstimate(**whole),
        )

    @classmethod
    def is_one(cls, path: Path) -> bool:
        """Whether the file at `path` is a report, of any job."""
        try:
            cls.from_json(path.read_text())
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return False
        return True


def _span(pieces: Sequence[FinishedPiece], encoding: Any) -> tuple[Fraction, Fraction] | None:
    """When the first packet begins and the last one ends, in seconds; None if the sink writes no packets."""
    shown = [piece for piece in pieces if piece.pts]
    if not shown:
        return None
    end = max(pts + length for pts, length in zip(shown[-1].pts, shown[-1].durations, strict=True))
    return min(shown[0].pts) * encoding.time_base, end * encoding.time_base


def _colour_change(tally: Tally, frames_in: int, bits: int) -> list[float] | None:
    made = tally.frames["new"] + tally.frames["restored"]
    if not made:
        return None
    scale = 2 ** (bits - 8)
    levels = zip(tally.made_levels, tally.source_levels, strict=True)
    return [round((ours / made - theirs / frames_in) / scale, 3) for ours, theirs in levels]


def _self_check(tally: Tally) -> SelfCheckResult | None:
    (check,) = [found for found in tally.findings.values() if isinstance(found, SelfCheck)] or [SelfCheck()]
    if not check.samples:
        return None
    figures = [
        -10 * math.log10(max(error / check.samples, 1e-10)) for error in (check.model, check.blend, check.repeat)
    ]
    return SelfCheckResult(check.samples, *(round(figure, 2) for figure in figures))


def _restoration(tally: Tally) -> dict[str, float]:
    changes = {name: found for name, found in tally.findings.items() if isinstance(found, Change)}
    return {name: round(found.change / max(found.frames, 1), 3) for name, found in changes.items()}


def _measured(tally: Tally) -> dict[str, dict[str, float]]:
    judged = {name: found for name, found in tally.findings.items() if isinstance(found, Judged)}
    return {
        name.removesuffix(JUDGED): {key: round(value, 3) for key, value in found.means().items()}
        for name, found in judged.items()
    }
