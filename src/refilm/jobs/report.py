"""What a job did, for the person who trusted it with a film."""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from refilm.jobs.segments import SegmentEnd, mean_codes
from refilm.video import Frame, ReadLosses, VideoInfo
from refilm.video.encoder import EncoderSettings


class Tally:
    """Sums over a segment's output frames; sums of sums give the report, however often the job was interrupted."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def count(self, frame: Frame) -> None:
        """Frames by origin, and the mean codes of those that a model has made."""
        self._add(frame.origin, 1)
        if frame.origin in ("new", "restored"):
            for number, mean in enumerate(mean_codes(frame)):
                self._add(f"made plane {number}", mean)

    def close(self, end: SegmentEnd, losses: dict[str, float]) -> None:
        """What is known at a segment's end: the source's mean codes, what the stage noticed, what was not read."""
        for name, value in losses.items():
            self._add(f"lost {name}", value)
        for number, total in enumerate(end.levels):
            self._add(f"source plane {number}", total)
        for name, value in end.stage.findings.items():
            self._add(name, value)

    def _add(self, key: str, value: float) -> None:
        self.sums[key] = self.sums.get(key, 0.0) + value


@dataclass(frozen=True)
class SelfCheckResult:
    """PSNR (dB, RGB) of real frames of this film, each predicted from its two neighbours."""

    frames: int
    model: float
    blend: float
    repeat: float


@dataclass(frozen=True)
class Report:
    """What stands in the JSON file. Times in seconds.

    frames_kept       pictures of the source as they were
    frames_restored   pictures of the source that a model has worked on
    frames_new        pictures between those of the source
    frames_left_out   pictures of the source for which the wanted frame rate has no place
    frames_dropped    pictures of the source whose time stamps are wrong
    colour_change     of the models' pictures against the source's, codes of 8 bit, one a plane
    restoration       for each kind of restoration, the mean absolute change of a sample in codes of 8 bit, between the
                      picture it was given and its result, which upscaling first reduces to the picture's size
    identity          of the job: source, settings, weights, versions and encoding in one digest
    peak_memory_mb    of this process and the one that reads, MiB, each at its own peak
    weights           file names
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
    frames_dropped: int
    duration_in: float
    duration_out: float
    av_drift: float
    colour_change: list[float] | None
    self_check: SelfCheckResult | None
    restoration: dict[str, float]
    seconds: float
    frames_per_second: float
    real_time_factor: float
    peak_memory_mb: float
    identity: str
    settings: dict[str, Any]
    weights: list[str]
    encoder: dict[str, str]
    warnings: list[str]

    @classmethod
    def of(
        cls,
        *,
        source: VideoInfo,
        output: Path,
        frames_in: int,
        frames_out: int,
        dropped: int,
        tallies: Sequence[dict[str, float]],
        span_in: tuple[Fraction, Fraction],
        span_out: tuple[Fraction, Fraction],
        seconds: float,
        frames_this_run: int,
        identity: str,
        settings: dict[str, Any],
        weights: list[str],
        encoder: EncoderSettings,
        warnings: list[str],
    ) -> Report:
        total = _added_up(tallies)
        share = Fraction(frames_this_run, max(frames_in, 1))
        return cls(
            source=str(source.path),
            output=str(output),
            frames_in=frames_in,
            frames_out=frames_out,
            frames_kept=int(total.get("source", 0)),
            frames_restored=int(total.get("restored", 0)),
            frames_new=int(total.get("new", 0)),
            frames_repeated=int(total.get("repeated", 0)),
            frames_left_out=frames_in - int(total.get("source", 0) + total.get("restored", 0)),
            frames_dropped=dropped,
            duration_in=float(span_in[1] - span_in[0]),
            duration_out=float(span_out[1] - span_out[0]),
            # sound is copied with its times, so it drifts by as much as the picture's beginning or end has moved
            av_drift=float(max((new - old for old, new in zip(span_in, span_out, strict=True)), key=abs)),
            colour_change=_colour_change(total, frames_in, source.format.bits),
            self_check=_self_check(total),
            restoration=_restoration(total),
            seconds=round(seconds, 3),
            frames_per_second=round(float(frames_out * share) / seconds, 3),
            real_time_factor=round(float((span_out[1] - span_out[0]) * share) / seconds, 4),
            peak_memory_mb=round(_peak_memory_mb(), 1),
            identity=identity,
            settings=settings,
            weights=weights,
            encoder={"codec": encoder.codec, "pix_fmt": encoder.format, **encoder.options},
            warnings=warnings,
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        record = json.loads(text)
        check = record.pop("self_check")
        return cls(**record, self_check=None if check is None else SelfCheckResult(**check))

    @classmethod
    def is_one(cls, path: Path) -> bool:
        """Whether the file at `path` is a report, of this or another job."""
        try:
            cls.from_json(path.read_text())
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return False
        return True


def lost(tallies: Sequence[dict[str, float]]) -> ReadLosses:
    """What all runs of a job together could not read."""
    total = _added_up(tallies)
    found = {name: total.get(f"lost {name}", 0.0) for name in vars(ReadLosses())}
    seconds = found.pop("missing_seconds")
    return ReadLosses(**{name: round(value) for name, value in found.items()}, missing_seconds=seconds)


def _added_up(tallies: Sequence[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for tally in tallies:
        for key, value in tally.items():
            total[key] = total.get(key, 0.0) + value
    return total


def _colour_change(total: dict[str, float], frames_in: int, bits: int) -> list[float] | None:
    made = total.get("new", 0) + total.get("restored", 0)
    if not made:
        return None
    planes = range(sum(key.startswith("made plane") for key in total))
    scale = 2 ** (bits - 8)
    return [
        round((total[f"made plane {p}"] / made - total[f"source plane {p}"] / frames_in) / scale, 3) for p in planes
    ]


def _self_check(total: dict[str, float]) -> SelfCheckResult | None:
    samples = total.get("check samples", 0)
    if not samples:
        return None

    def psnr(key: str) -> float:
        mean_squared_error = total[f"check {key}"] / samples
        return round(-10 * math.log10(max(mean_squared_error, 1e-10)), 2)

    return SelfCheckResult(int(samples), psnr("model"), psnr("blend"), psnr("repeat"))


def _restoration(total: dict[str, float]) -> dict[str, float]:
    kinds = [key.removesuffix(" change") for key in total if key.endswith(" change")]
    return {kind: round(total[f"{kind} change"] / total[f"{kind} frames"], 3) for kind in kinds}


def _peak_memory_mb() -> float:
    """The largest resident sizes of this process and the reading one; Linux counts in KiB, macOS in bytes."""
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
