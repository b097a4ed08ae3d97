"""Comparing two videos: which frames both show at the same time, and how much these differ."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from refilm.comparison import plane_metrics
from refilm.comparison.pictures import Curve, Strip
from refilm.errors import JobError, VideoError
from refilm.jobs.background import running_ahead
from refilm.jobs.pace import Pace, Progress
from refilm.video import Colour, Frame, PixelFormat, VideoInfo, VideoReader
from refilm.video.pixel_format import held_format
from refilm.video.vmaf import Vmaf

_AHEAD = 4  # frames of each video that are decoded ahead
_RGB = Colour(matrix="rgb", range="pc")
_NAMES = {"yuv": ("y", "u", "v"), "rgb": ("g", "b", "r"), "gray": ("y",)}
_UNMATCHED_NAMED = 5  # of so many unmatched frames the times are listed


@dataclass(frozen=True)
class VideoAccount:
    """The frames of one of the two videos. Times are in seconds.

    unmatched         number of frames that the other video does not have
    unmatched_times   times of the first few of these
    start, end        when the first frame begins and the last one ends
    """

    path: str
    frames: int
    unmatched: int
    unmatched_times: list[float]
    start: float
    end: float


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    compared_as   the pixel format that was compared, as FFmpeg names it
    matched       number of frames that both videos have
    identical     number of these whose samples are all equal
    psnr_db       for each plane, and "average" for all samples: from the mean squared error over all matched frames;
                  None means infinite, for no error
    ssim          for each plane, and "all" for the mean of the planes weighted by size: mean over the matched frames;
                  None if a plane is too small for the window
    level_change  for each plane, mean code of b minus mean code of a, in 8-bit codes
    worst_time, worst_psnr_db   time and "average" PSNR of the matched frame with the lowest PSNR; None as in `psnr_db`
    warnings      read errors, and other differences that a viewer would notice
    vmaf          mean VMAF of b against a over the matched frames, from 0 to 100; None if it was not asked for
    """

    a: VideoAccount
    b: VideoAccount
    compared_as: str
    matched: int
    identical: int
    psnr_db: dict[str, float | None]
    ssim: dict[str, float | None]
    level_change: dict[str, float]
    worst_time: float
    worst_psnr_db: float | None
    warnings: list[str]
    vmaf: float | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def compare(
    path_a: str | Path,
    path_b: str | Path,
    pictures: str | Path | None = None,
    *,
    from_start: bool = False,
    vmaf: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Comparison:
    """Compare the frames that two videos show at the same times, by PSNR and SSIM as FFmpeg's filters define them.

    pictures      a new or empty folder for curve.png, strip.png, frames.csv and comparison.json
    from_start    whether times count from the first frame of each video
    vmaf          whether to measure VMAF as well, which wants an FFmpeg with libvmaf
    on_progress   called with the state of the comparison after each frame

    Planes are compared as they are if both videos have the same pixel format, matrix and range, else both are converted
    to RGB. Raises VideoError if a video cannot be read, if sizes differ, or if no frames are shown at the same time;
    JobError if `pictures` is not empty or cannot be written to; UsageError if there is no FFmpeg for VMAF.
    """
    folder = None if pictures is None else Path(pictures)
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise JobError(f"{folder}: exists and is not an empty folder; name another for the pictures")
    with ExitStack() as stack:
        judge = stack.enter_context(Vmaf()) if vmaf else None
        readers = [stack.enter_context(VideoReader(path)) for path in (path_a, path_b)]
        a, b = (reader.info for reader in readers)
        _check_sizes(a, b)
        shift = a.start_time - b.start_time if from_start else Fraction(0)
        frames_a, frames_b = (stack.enter_context(running_ahead(iter(reader), _AHEAD)) for reader in readers)
        if folder is not None:
            stack.enter_context(_filled_or_gone(folder))
            table = stack.enter_context((folder / "frames.csv").open("w", newline=""))
        measured = _Measured(a, b, None if folder is None else csv.writer(table))
        pace = Pace(a.frames)
        for frame_a, frame_b in _paired(frames_a, frames_b, _tolerance(a, b), shift):
            measured.add(frame_a, frame_b)
            if judge is not None and frame_a is not None and frame_b is not None:
                judge.add(frame_b, frame_a)
            on_progress(pace.at(measured.frames[0]))
        if not measured.matched:
            raise VideoError(
                f"{path_a} and {path_b} show no frame at the same time: they begin at {float(a.start_time):.3f} and "
                f"{float(b.start_time):.3f} s; --from-start counts from the first frame of each"
            )
        losses = [f"{reader.path}: {line}" for reader in readers for line in reader.losses.warnings()]
        scores = [] if judge is None else judge.scores()
    comparison = measured.result(losses + _other_differences(a, b))
    if scores:
        comparison = replace(comparison, vmaf=round(fmean(scores), 3))
    if folder is not None:
        measured.curve.write(folder / "curve.png")
        measured.strip.write(folder / "strip.png", (a.path.name, b.path.name))
        (folder / "comparison.json").write_text(comparison.to_json())
    return comparison


@contextmanager
def _filled_or_gone(folder: Path) -> Iterator[None]:
    """Creates the folder, and removes it again if the block raises."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder)  # it was new or empty
        raise


def _check_sizes(a: VideoInfo, b: VideoInfo) -> None:
    if (a.width, a.height) != (b.width, b.height):
        raise VideoError(
            f"{b.path} is {b.width}x{b.height} and {a.path} is {a.width}x{a.height}; only equal sizes can be compared. "
            f"Scale one first: ffmpeg -i IN -vf scale={a.width}:{a.height}:flags=lanczos -c:v ffv1 OUT.mkv"
        )


def _tolerance(a: VideoInfo, b: VideoInfo) -> Fraction:
    """Largest difference of two times that count as the same, in seconds.

    It allows for the rounding of both clocks, but is at most a quarter of a frame's duration.
    """
    return min((a.time_base + b.time_base) / 2, 1 / (4 * max(a.frame_rate, b.frame_rate)))


def _paired(
    frames_a: Iterator[Frame], frames_b: Iterator[Frame], tolerance: Fraction, shift: Fraction
) -> Iterator[tuple[Frame | None, Frame | None]]:
    """The frames of both videos in order of time, in pairs if their times agree, else each with None.

    shift   seconds that are added to the times of b
    """
    a, b = next(frames_a, None), next(frames_b, None)
    while a is not None or b is not None:
        if b is not None and (a is None or b.time + shift < a.time - tolerance):
            yield None, b
            b = next(frames_b, None)
        elif a is not None and (b is None or a.time < b.time + shift - tolerance):
            yield a, None
            a = next(frames_a, None)
        else:
            yield a, b
            a, b = next(frames_a, None), next(frames_b, None)


def _other_differences(a: VideoInfo, b: VideoInfo) -> list[str]:
    """Differences besides the frames that a viewer would notice, in words."""
    found = []
    if a.display_matrix != b.display_matrix:
        found.append(f"players turn a by {a.rotation} and b by {b.rotation} degrees, or mirror one of them")
    if a.sample_aspect_ratio != b.sample_aspect_ratio:
        found.append(f"the shape of a pixel is {a.sample_aspect_ratio} in a and {b.sample_aspect_ratio} in b")
    for kind in ("audio", "subtitle"):
        counts = [sum(stream.kind == kind for stream in info.others) for info in (a, b)]
        if counts[0] != counts[1]:
            found.append(f"{kind} streams: {counts[0]} in a, {counts[1]} in b")
    return found


class _Measured:
    """Sums over the frames so far, in arrays with one entry per plane.

    Memory grows only by the three numbers per matched frame that the curve needs.
    """

    def __init__(self, a: VideoInfo, b: VideoInfo, table: Any) -> None:
        self._infos, self._table = (a, b), table
        self._common = None if (a.format, a.colour.matrix, a.colour.range) == (
            b.format, b.colour.matrix, b.colour.range
        ) else _rgb_format(max(a.format.bits, b.format.bits))  # fmt: skip
        self._format = self._common or a.format
        self._top = (1 << self._format.bits) - 1
        self.names = _NAMES[self._format.kind]
        self.matched, self._identical = 0, 0
        self.frames, self._missing = [0, 0], [0, 0]
        self._missing_times: tuple[list[float], list[float]] = ([], [])
        self._ends = [a.start_time, b.start_time]
        self._shares = self._errors = self._likeness = self._levels = np.zeros(len(self.names))
        self.curve, self.strip = Curve(), Strip()
        self._write("time", "in", *(f"{metric}_{name}" for metric in ("psnr", "ssim") for name in (*self.names, "all")))

    def add(self, a: Frame | None, b: Frame | None) -> None:
        """Adds a pair of frames of the same time, or a frame that the other video does not have, with None for that."""
        for side, frame in enumerate((a, b)):
            if frame is not None:
                self.frames[side] += 1
                self._ends[side] = frame.time + frame.duration
        if a is None or b is None:
            side, alone = (0, a) if b is None else (1, b)
            assert alone is not None, "a pair has one frame at least"
            self._missing[side] += 1
            if len(self._missing_times[side]) < _UNMATCHED_NAMED:
                self._missing_times[side].append(float(alone.time))
            self._write(f"{float(alone.time):.6f}", "ab"[side])
            return
        planes_a, planes_b = self._planes(a), self._planes(b)
        pairs = list(zip(planes_a, planes_b, strict=True))
        errors = np.array([plane_metrics.squared_error(x, y) for x, y in pairs])
        likeness = np.array([plane_metrics.ssim(x, y, self._top) for x, y in pairs])
        self.matched += 1
        self._identical += not errors.any()
        self._shares = plane_metrics.shares(planes_a)
        self._errors, self._likeness = self._errors + errors, self._likeness + likeness
        self._levels = self._levels + [float(y.mean()) - float(x.mean()) for x, y in pairs]
        psnrs = [plane_metrics.psnr(error, self._top) for error in (*errors, self._shares @ errors)]
        ssims = [*likeness, self._shares @ likeness]
        self.curve.add(float(a.time), psnrs[-1], ssims[-1])
        self.strip.add(a, b, psnrs[-1], ssims[-1])
        self._write(f"{float(a.time):.6f}", "both", *(f"{value:.4f}" for value in psnrs), *(f"{v:.6f}" for v in ssims))

    def result(self, warnings: list[str]) -> Comparison:
        errors, likeness = self._errors / self.matched, self._likeness / self.matched
        psnrs = [plane_metrics.psnr(error, self._top) for error in (*errors, self._shares @ errors)]
        levels = self._levels / self.matched / 2 ** (self._format.bits - 8)
        accounts = [
            VideoAccount(
                str(info.path), self.frames[k], self._missing[k], self._missing_times[k],
                float(info.start_time), float(self._ends[k]),
            )
            for k, info in enumerate(self._infos)
        ]  # fmt: skip
        worst_time, worst_psnr, _ = self.curve.worst()
        similarities = [*likeness.tolist(), float(self._shares @ likeness)]
        return Comparison(
            a=accounts[0],
            b=accounts[1],
            compared_as=self._format.name,
            matched=self.matched,
            identical=self._identical,
            psnr_db=self._named(psnrs, "average", 4),
            ssim=self._named(similarities, "all", 6),
            level_change=dict(zip(self.names, levels.round(3).tolist(), strict=True)),
            worst_time=worst_time,
            worst_psnr_db=_finite(worst_psnr, 4),
            warnings=warnings,
        )

    def _named(self, values: Sequence[float], total: str, digits: int) -> dict[str, float | None]:
        return {name: _finite(value, digits) for name, value in zip((*self.names, total), values, strict=True)}

    def _planes(self, frame: Frame) -> tuple[np.ndarray, ...]:
        if self._common is None:
            return frame.planes
        return frame.converted(self._common, _RGB).planes

    def _write(self, *cells: str) -> None:
        if self._table is not None:
            self._table.writerow(cells)


def _rgb_format(bits: int) -> PixelFormat:
    return held_format("gbrp" if bits == 8 else f"gbrp{bits}le")


def _finite(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
