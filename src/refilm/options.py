"""The options of jobs, as dataclasses. Flags, Python keywords and the identity of a job are made from them.

The documentation of a field is the string below it. `refilm COMMAND --help` and `help(refilm.denoise)` show it. The
dataclasses raise UsageError, a ValueError, for values out of range.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import docstring_parser
from cyclopts import Parameter

from refilm.errors import UsageError


@dataclass(frozen=True)
class Encoding:
    """How the output is encoded, in FFmpeg's terms."""

    codec: str | None = None
    "Encoder: libx264, libx265, libsvtav1, ffv1, ... Default: libx264, above 8 bit libx265, for .webm libvpx-vp9."
    crf: float | None = None
    "Quality: lower is better, and makes larger files. Default: near transparent (libx264 17, libx265 19, others 24)."
    preset: str | None = None
    "Trades speed for size: ultrafast ... medium ... veryslow for libx264 and libx265, 0 ... 13 for libsvtav1."
    pix_fmt: str | None = None
    "Pixel format such as yuv420p or yuv420p10le. Default: the source's, if the encoder supports it."


@dataclass(frozen=True)
class Running:
    """How a job runs."""

    device: str = "cpu"
    "Where the models run: cpu, cuda, cuda:1, ..."
    scene_cuts: Annotated[bool, Parameter(negative="--no-scene-cuts")] = True
    "Find scene cuts, so that models do not mix two scenes; interpolation repeats the nearer frame there."
    tile: int | None = None
    "Side in pixels of the tiles in which a model processes large frames. Default: as large as max-memory allows."
    max_memory: str | float | None = None
    "Memory that the job may use, such as 4GB; on a GPU, its memory. Default: three quarters of what is free."
    threads: int | None = None
    "Processor cores to use. Default: all."
    overwrite: bool = False
    "Replace an existing output, in one step, when the new one is complete."
    restart: bool = False
    "Discard an unfinished job for this output, and start from the beginning."
    force: bool = False
    "Process an interlaced source as it is, instead of refusing it."
    input_fps: str | float | Fraction | None = None
    "Frame rate of a picture sequence. Default: 25."

    def __post_init__(self) -> None:
        _at_least_one(self, "threads", "tile")
        if self.input_fps is not None:
            frame_rate(self.input_fps)


@dataclass(frozen=True)
class Many:
    """One command for many inputs."""

    output_dir: Path | None = None
    "Folder for the outputs; every path is then an input: a file, a folder of videos, or a pattern such as 'day*.mp4'."
    suffix: str | None = None
    "Ending of the outputs. Default: the input's, or .mkv if refilm cannot write that."
    jobs: int = 1
    "Number of jobs at a time; they share the processor cores."

    def __post_init__(self) -> None:
        _at_least_one(self, "jobs")
        if self.output_dir is None and (self.suffix is not None or self.jobs != 1):
            raise UsageError("--suffix and --jobs go with --output-dir")


@dataclass(frozen=True)
class Options:
    """The options of one task."""

    def settings(self) -> dict[str, Any]:
        """The options that the result depends on, for the identity of a job."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Interpolate(Options):
    """The frame rate of an interpolation."""

    times: int | None = None
    "Factor for the frame rate; source frames keep their pixels and times. Default: 2."
    fps: str | float | Fraction | None = None
    "Instead of times: the exact frame rate of the output, such as 60 or 60000/1001."

    def __post_init__(self) -> None:
        _at_least_one(self, "times")
        if self.times is not None and self.fps is not None:
            raise UsageError("times and fps exclude each other; give one of them")
        if self.fps is not None:
            frame_rate(self.fps)

    @property
    def times_or_default(self) -> int | None:
        """`times`, or 2 if neither it nor `fps` is given; None with `fps`."""
        return 2 if self.times is None and self.fps is None else self.times

    def settings(self) -> dict[str, Any]:
        return {"times": self.times_or_default, "fps": None if self.fps is None else str(frame_rate(self.fps))}


@dataclass(frozen=True)
class Denoise(Options):
    """The strength of the noise, if it is known."""

    sigma: float | None = None
    "Standard deviation of the noise in 8-bit levels, for white noise. Default: the model estimates any kind of noise."

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0 < self.sigma <= 255:
            raise UsageError(f"sigma is the noise's standard deviation, above 0 and at most 255, got {self.sigma:g}")


@dataclass(frozen=True)
class Deblock(Options):
    """The removal of compression artifacts has no options."""


@dataclass(frozen=True)
class Upscale(Options):
    """The factor of an enlargement."""

    scale: int | None = None
    "Factor for width and height. Default: the model's."

    def __post_init__(self) -> None:
        _at_least_one(self, "scale")


@dataclass(frozen=True)
class Enhance(Denoise, Interpolate):
    """Several tasks in one pass, in the order in which `refilm.tasks.TASKS` lists them."""

    denoise: bool = False
    "Remove noise."
    deblock: bool = False
    "Remove compression artifacts."
    upscale: int | None = None
    "Enlarge width and height by this factor."
    models: Annotated[tuple[str, ...], Parameter(name="--model")] = ()
    "A name from `refilm models`, instead of the default model for its task; can be given several times."

    def __post_init__(self) -> None:
        Interpolate.__post_init__(self)
        Denoise.__post_init__(self)
        _at_least_one(self, "upscale")
        if self.sigma is not None and not self.denoise:
            raise UsageError("sigma is the level of the noise to take out; add denoise, or leave out sigma")
        if not self.wanted():
            raise UsageError("nothing is asked for; wanted at least one of denoise, deblock, upscale, times, fps")

    def wanted(self) -> dict[str, Any]:
        """The options of the tasks that are wanted, by the task's verb, in the order in which they run."""
        found: dict[str, Any] = {}
        if self.denoise:
            found["denoise"] = Denoise(self.sigma)
        if self.deblock:
            found["deblock"] = Deblock()
        if self.upscale is not None:
            found["upscale"] = Upscale(self.upscale)
        if self.times is not None or self.fps is not None:
            found["interpolate"] = Interpolate(self.times, self.fps)
        return found


def frame_rate(value: Fraction | float | str) -> Fraction:
    """The exact frame rate for a value such as 60, "60000/1001" or 59.94.

    Rounded values such as 23.976, 29.97 and 59.94 become NTSC's n * 1000/1001. Raises UsageError for other than
    positive numbers.
    """
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"wanted a frame rate such as 60, 59.94 or 60000/1001, got {value!r}")
    nearest = Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
    is_rounded = rate.denominator not in (1, 1001) and abs(rate - nearest) < Fraction(1, 200)
    return nearest if is_rounded else rate


@cache
def documentation(kind: type) -> dict[str, str]:
    """The documentation of the fields of one of these dataclasses, by their names."""
    told = {entry.arg_name: entry.description or "" for entry in docstring_parser.parse_from_object(kind).params}
    for base in kind.__mro__[1:-1]:
        told = documentation(base) | told
    return {field.name: told[field.name] for field in fields(kind)}


def taken(kind: type, keywords: dict[str, Any]) -> Any:
    """An instance of `kind`, made from the keywords that are its fields. They are removed from `keywords`."""
    return kind(**{field.name: keywords.pop(field.name) for field in fields(kind) if field.name in keywords})


def _at_least_one(options: object, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"{name.replace('_', '-')} must be at least 1, got {value}")


def check_all_known(keywords: Iterable[str], kinds: Iterable[type], function: str) -> None:
    """Raises TypeError, with the nearest name, if there is a keyword that is a field of none of the dataclasses."""
    known = [field.name for kind in kinds for field in fields(kind)]
    for keyword in keywords:
        near = difflib.get_close_matches(keyword, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"{function}() has no option {keyword!r}{hint}")
