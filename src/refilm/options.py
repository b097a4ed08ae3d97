"""What users may ask for, declared once: flags, Python keywords and the identity of a job are made from this.

Each field has its documentation as the string below it, which `refilm COMMAND --help` and `help(refilm.denoise)` show.
A value that makes no sense raises UsageError, a ValueError, when the dataclass is made, wherever it came from.
"""

from __future__ import annotations

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
    """How the output is encoded, in FFmpeg's words."""

    codec: str | None = None
    "Encoder: libx264, libx265, libsvtav1, ffv1, ... Default: libx264, above 8 bit libx265, for .webm libvpx-vp9."
    crf: float | None = None
    "Quality; lower is better and larger. Default: near transparent (libx264 17, libx265 19, the others 24)."
    preset: str | None = None
    "Speed against size: ultrafast ... medium ... veryslow for libx264 and libx265, 0 ... 13 for libsvtav1."
    pix_fmt: str | None = None
    "Pixel format such as yuv420p or yuv420p10le. Default: the source's, if the encoder takes it."


@dataclass(frozen=True)
class Running:
    """How a job runs."""

    device: str = "cpu"
    "Where the models run: cpu, cuda, cuda:1, ..."
    scene_cuts: Annotated[bool, Parameter(negative="--no-scene-cuts")] = True
    "Find cuts and keep the models from mixing two scenes; between frames, the nearer one is repeated there."
    tile: int | None = None
    "Side in pixels of the parts in which large pictures go through a model. Default: as max-memory allows."
    max_memory: str | float | None = None
    "What the job may take, such as 4GB, or of a GPU's memory. Default: three quarters of what is free."
    threads: int | None = None
    "Processor cores to use. Default: all."
    overwrite: bool = False
    "Replace an existing output, in one step, once the new one is complete."
    restart: bool = False
    "Forget an unfinished job on this output, and begin anew."
    force: bool = False
    "Take an interlaced source as it is, rather than refuse it."
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
    "Ending of the outputs. Default: the input's, or .mkv where refilm does not write that."
    jobs: int = 1
    "How many to work on at a time; they share the cores."

    def __post_init__(self) -> None:
        _at_least_one(self, "jobs")
        if self.output_dir is None and (self.suffix is not None or self.jobs != 1):
            raise UsageError("--suffix and --jobs go with --output-dir")


@dataclass(frozen=True)
class Options:
    """Of one task."""

    def settings(self) -> dict[str, Any]:
        """What of them decides the result, for the identity of a job."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Interpolate(Options):
    """Which frames an interpolation gives."""

    times: int | None = None
    "Frame rate multiplied by this; every frame keeps its pixels and its time. Default: 2."
    fps: str | float | Fraction | None = None
    "Instead of times: exactly this frame rate, such as 60 or 60000/1001, from the first frame on."

    def __post_init__(self) -> None:
        _at_least_one(self, "times")
        if self.times is not None and self.fps is not None:
            raise UsageError("times and fps exclude each other; give one of them")
        if self.fps is not None:
            frame_rate(self.fps)

    @property
    def times_or_default(self) -> int | None:
        """`times`, or 2 where neither it nor `fps` is given."""
        return 2 if self.times is None and self.fps is None else self.times

    def settings(self) -> dict[str, Any]:
        return {"times": self.times_or_default, "fps": None if self.fps is None else str(frame_rate(self.fps))}


@dataclass(frozen=True)
class Denoise(Options):
    """What is known of the noise."""

    sigma: float | None = None
    "The standard deviation of white noise, of 255. Default: the model judges for itself, also of what noise it is."

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0 < self.sigma <= 255:
            raise UsageError(f"sigma is the noise's standard deviation, above 0 and at most 255, got {self.sigma:g}")


@dataclass(frozen=True)
class Deblock(Options):
    """Removing compression artifacts has no options."""


@dataclass(frozen=True)
class Upscale(Options):
    """How much larger."""

    scale: int | None = None
    "Times as wide and as high. Default: as the model does."

    def __post_init__(self) -> None:
        _at_least_one(self, "scale")


@dataclass(frozen=True)
class Enhance(Denoise, Interpolate):
    """Several tasks in one pass, in the order in which `refilm.tasks.TASKS` lists them."""

    denoise: bool = False
    "Take the noise out."
    deblock: bool = False
    "Take out what strong compression has done."
    upscale: int | None = None
    "Make it so many times as wide and as high."
    models: Annotated[tuple[str, ...], Parameter(name="--model")] = ()
    "A name from `refilm models`, in place of the default one for its task; may be given several times."

    def __post_init__(self) -> None:
        Interpolate.__post_init__(self)
        Denoise.__post_init__(self)
        _at_least_one(self, "upscale")
        if self.sigma is not None and not self.denoise:
            raise UsageError("sigma is the level of the noise to take out; add denoise, or leave out sigma")
        if not self.wanted():
            raise UsageError("nothing is asked for; wanted at least one of denoise, deblock, upscale, times, fps")

    def wanted(self) -> dict[str, Any]:
        """The options of each task that is asked for, by its verb, in the order of the work."""
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
    """60, "60000/1001", 59.94 -> an exact rate; 23.976, 29.97 and 59.94 are taken for NTSC's n * 1000/1001."""
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
    """The documentation of each field of one of these dataclasses, by the field's name."""
    told = {entry.arg_name: entry.description or "" for entry in docstring_parser.parse_from_object(kind).params}
    for base in kind.__mro__[1:-1]:
        told = documentation(base) | told
    return {field.name: told[field.name] for field in fields(kind)}


def taken(kind: type, keywords: dict[str, Any]) -> Any:
    """An instance of `kind`, from those of the keywords that are its fields; they are taken out of `keywords`."""
    return kind(**{field.name: keywords.pop(field.name) for field in fields(kind) if field.name in keywords})


def _at_least_one(options: object, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"{name.replace('_', '-')} must be at least 1, got {value}")


def check_all_known(keywords: Iterable[str], kinds: Iterable[type], function: str) -> None:
    """TypeError, with the nearest name, for a keyword that none of the dataclasses has."""
    import difflib

    known = [field.name for kind in kinds for field in fields(kind)]
    for keyword in keywords:
        near = difflib.get_close_matches(keyword, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"{function}() has no option {keyword!r}{hint}")
