"""The options of jobs, as dataclasses. Flags, Python keywords and the identity of a job are made from them.

The documentation of a field is the string below it. `refilm COMMAND --help` and `help(refilm.denoise)` show it. The
dataclasses raise UsageError, a ValueError, for values out of range.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import operator
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from cyclopts import Parameter

from refilm.errors import UsageError


def _as_given(kind: type, tokens: Sequence[Any]) -> float:
    """The number in a flag's text. Cyclopts would round it to a whole one; the dataclasses refuse other numbers."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"wanted a whole number, got {text!r}") from None


_MOMENT = re.compile(r"(?:(?:(\d+):(?=[0-5]?\d:))?(\d+):(?=[0-5]?\d(?:\.|$)))?(\d+(?:\.\d*)?)", re.ASCII)

Whole = Annotated[int, Parameter(converter=_as_given)]
ForWhat = Literal["browser", "editing", "archive", "phone"]
Audio = Literal["copy", "aac", "opus", "flac", "pcm", "none"]
Subtitles = Literal["copy", "none"]
Way = Literal["space", "motion"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Encoding:
    """How the output is encoded, in FFmpeg's terms."""

    purpose: Annotated[ForWhat | None, Parameter(name="--for")] = None
    "What the output is for, which chooses codec, quality, pixel format and sound; the options below win over it."
    codec: str | None = None
    "Encoder: libx264, libx265, libsvtav1, ffv1, ... Default: libx264, above 8 bit libx265, for .webm libvpx-vp9."
    crf: float | None = None
    "Quality: lower is better, and makes larger files. Default: near transparent (libx264 17, libx265 19, others 24)."
    preset: str | None = None
    "Trades speed for size: ultrafast ... medium ... veryslow for libx264 and libx265, 0 ... 13 for libsvtav1."
    pix_fmt: str | None = None
    "Pixel format such as yuv420p or yuv420p10le. Default: the source's, if the encoder supports it."
    audio: Audio | None = None
    "Sound: the source's packets (copy), another codec, or none. Default: copy, as far as the container can hold it."
    subtitles: Subtitles | None = None
    "Subtitles: copy or none. Default: copy; text that the container cannot hold as it is, is converted."
    copy_only: bool = False
    "Refuse, instead of converting sound and text subtitles that the output's container cannot hold as they are."
    drop_streams: bool = False
    "Leave out sound, subtitles, chapters and attachments that the output's container cannot hold, instead of refusing."

    def __post_init__(self) -> None:
        _one_of(self, "purpose", ForWhat, "--for")
        _one_of(self, "audio", Audio)
        _one_of(self, "subtitles", Subtitles)
        if self.copy_only and self.audio not in (None, "copy", "none"):
            raise UsageError(
                f"--copy-only refuses to convert sound, and --audio {self.audio} asks for it; leave out one of them"
            )


@dataclass(frozen=True)
class Running:
    """How a job runs."""

    device: str = "cpu"
    "Where the models run: cpu, cuda, cuda:1, ..."
    precision: Precision = "float32"
    "Numbers in which pictures are made. bfloat16 is faster where refilm doctor says so, and hardly less exact."
    scene_cuts: Annotated[bool, Parameter(negative="--no-scene-cuts")] = True
    "Find scene cuts, so that models do not mix two scenes; interpolation repeats the nearer frame there."
    tile: Whole | None = None
    "Side in pixels of the tiles in which a model processes large frames. Default: as large as max-memory allows."
    max_memory: str | float | None = None
    "Memory that the job may use, such as 4GB; on a GPU, its memory. Default: three quarters of what is free."
    threads: Whole | None = None
    "Processor cores to use. Default: all."
    on: str | None = None
    "Let many machines make the pieces: ray, the Ray cluster of this machine, or ray://HEAD:10001. Default: this one."
    overwrite: bool = False
    "Replace an existing output, in one step, when the new one is complete."
    restart: bool = False
    "Discard an unfinished job for this output, and start from the beginning."
    force: bool = False
    "Process an interlaced source as it is, instead of refusing it."
    from_time: Annotated[str | float | Fraction | None, Parameter(name="--from")] = None
    "Begin with the frame shown at this time, such as 80, 1:20 or 0:01:20.5, counted from the film's first frame."
    to_time: Annotated[str | float | Fraction | None, Parameter(name="--to")] = None
    "End before the frame shown at this time. What the output holds begins at 0; sound is cut between its packets."
    preview: str | float | Fraction | None = None
    "Make so many seconds as OUT.preview.mp4, from --from or the middle, with a picture and what the whole would take."
    input_fps: str | float | Fraction | None = None
    "Frame rate of a source without times: a picture sequence (default: 25), or a raw stream such as .h264."

    def __post_init__(self) -> None:
        _whole_and_positive(self, "threads", "tile")
        _one_of(self, "precision", Precision)
        if self.input_fps is not None:
            frame_rate(self.input_fps)
        if self.part is not None and self.part[1] is not None and self.part[0] >= self.part[1]:
            raise UsageError(f"--from must be before --to, got {self.from_time or 0} and {self.to_time}")

        if self.on is not None and re.fullmatch(r"ray|ray://[^/\s]+:\d+", self.on) is None:
            raise UsageError(f"--on takes ray, or an address such as ray://head:10001, got {self.on!r}")
        if self.on is not None and self.preview is not None:
            raise UsageError("--preview is made on this machine; leave out --on")
        if self.preview is not None and (self.to_time is not None or moment(self.preview) == 0):
            raise UsageError("--preview is a number of seconds above 0, and takes --from but no --to")

    @property
    def part(self) -> tuple[Fraction, Fraction | None] | None:
        """(begin, end) of the wanted part in seconds, the end None for the film's; None if all is wanted."""
        if self.from_time is None and self.to_time is None:
            return None
        begin = moment(0 if self.from_time is None else self.from_time)
        return begin, None if self.to_time is None else moment(self.to_time)


@dataclass(frozen=True)
class Many:
    """One command for many inputs."""

    output_dir: Path | None = None
    "Folder for the outputs; every path is then an input: a file, a folder of videos, or a pattern such as 'day*.mp4'."
    suffix: str | None = None
    "Ending of the outputs. Default: that of --for, or the input's, or .mkv if refilm cannot write that."
    jobs: Whole = 1
    "Number of jobs at a time; they share the processor cores."

    def __post_init__(self) -> None:
        _whole_and_positive(self, "jobs")
        if self.output_dir is None and (self.suffix is not None or self.jobs != 1):
            raise UsageError("--suffix and --jobs go with --output-dir")


@dataclass(frozen=True)
class Options:
    """The options of one task.

    enlarged_by   models for super-resolution, or weight files, that enlarge what the task's model is shown
    """

    @property
    def enlarged_by(self) -> tuple[str, ...]:
        return ()

    def settings(self) -> dict[str, Any]:
        """The options that the result depends on, for the identity of a job."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Interpolate(Options):
    """The frame rate of an interpolation."""

    times: Whole | None = None
    "Factor for the frame rate; source frames keep their pixels and times. Default: 2."
    fps: str | float | Fraction | None = None
    "Instead of times: the exact frame rate of the output, such as 60 or 60000/1001."
    drop_repeats: bool = False
    "Take frames that repeat the one before, as in drawings on twos, as one frame, so that motion becomes even."

    def __post_init__(self) -> None:
        _whole_and_positive(self, "times")
        if self.times is not None and self.fps is not None:
            raise UsageError("times and fps exclude each other; give one of them")
        if self.fps is not None:
            frame_rate(self.fps)

    @property
    def times_or_default(self) -> int | None:
        """`times`, or 2 if neither it nor `fps` is given; None with `fps`."""
        return 2 if self.times is None and self.fps is None else self.times

    def settings(self) -> dict[str, Any]:
        fps = None if self.fps is None else str(frame_rate(self.fps))
        return {"times": self.times_or_default, "fps": fps, "drop_repeats": self.drop_repeats}


@dataclass(frozen=True)
class Denoise(Options):
    """The strength of the noise, if it is known."""

    sigma: float | None = None
    "Standard deviation of the noise in 8-bit levels, for white noise. Default: the model estimates any kind of noise."

    strength: float | None = None
    "How much to restore: 0 leaves the film as it is, 1 does all. Default: measured on each frame; clean film is left."

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0 < self.sigma <= 255:
            raise UsageError(f"sigma is the noise's standard deviation, above 0 and at most 255, got {self.sigma:g}")
        _share(self.strength)


@dataclass(frozen=True)
class Deblock(Options):
    """The strength of the removal of compression artifacts."""

    strength: float | None = None
    "How much to restore: 0 leaves the film as it is, 1 does all. Default: measured on each frame; clean film is left."

    def __post_init__(self) -> None:
        _share(self.strength)


@dataclass(frozen=True)
class Deblur(Options):
    """The frame rate of a video that is made sharp."""

    times: Whole = 1
    "Factor for the frame rate: 1 makes the frames sharp, 2 also makes a new sharp frame between every two."

    def __post_init__(self) -> None:
        _whole_and_positive(self, "times")


@dataclass(frozen=True)
class Upscale(Options):
    """The factor of an enlargement."""

    scale: Whole | None = None
    "Factor for width and height. Default: the model's."

    def __post_init__(self) -> None:
        _whole_and_positive(self, "scale")


@dataclass(frozen=True)
class Recognize(Options):
    """Of what a film is told what happens there: windows, or shots."""

    every: str | float | Fraction | None = None
    "Length of the windows, such as 2s, 0.5 or 1:00. Default: what the model has learned to see at once."
    shots: bool = False
    "Tell what happens in each shot, from one scene cut to the next, instead of in windows."
    topk: Whole = 5
    "Labels that are told of each, the likeliest first."
    from_small: bool = False
    "For a small film: enlarge what the model sees four times, by sosr-small for single frames, tosr-small for motion."
    through: str | None = None
    "As from-small, by this model for super-resolution, or A+B: A for what looks at single frames, B for motion."

    def __post_init__(self) -> None:
        _whole_and_positive(self, "topk")
        if self.from_small and self.through is not None:
            raise UsageError("from-small chooses the models that through names; give one of them")
        if len(self.enlarged_by) > 2:
            raise UsageError(f"through is a model, or two, A+B, for single frames and for motion, got {self.through}")
        if self.every is not None and self.shots:
            raise UsageError("every is the length of windows, and shots are as long as they are; give one of them")
        if self.length == 0:
            raise UsageError(f"every is the length of windows, above 0, got {self.every}")

    @property
    def enlarged_by(self) -> tuple[str, ...]:
        """See Options: none, one, or those of SoSR and ToSR."""
        if self.from_small:
            return "sosr-small", "tosr-small"
        return () if self.through is None else joined_by_plus(self.through)

    def looks_for_cuts(self, scene_cuts: bool) -> bool:
        """Whether scene cuts are looked for: for shots; and, unless they are not wanted, so that what enlarges a frame
        looks at its own scene alone.
        """
        return self.shots or (scene_cuts and bool(self.enlarged_by))

    @property
    def length(self) -> Fraction | None:
        """`every` in seconds; None: the model's."""
        if self.every is None:
            return None
        text = str(self.every).strip()
        return moment(text[:-1].rstrip() if text.endswith("s") else self.every)

    def settings(self) -> dict[str, Any]:
        """All but `topk`, which is a choice among what was found, and what enlarges, which is told with its weights."""
        return {"every": None if self.length is None else str(self.length), "shots": self.shots}


@dataclass(frozen=True)
class Detect(Options):
    """Which objects are told of."""

    min_score: float = 0.3
    "Least score of an object that is told, from 0 to 1: lower finds more, and more that is not there."

    def __post_init__(self) -> None:
        if not 0 < self.min_score <= 1:
            raise UsageError(f"min-score is a number above 0 and at most 1, got {self.min_score:g}")


@dataclass(frozen=True)
class Encode(Options):
    """How small a learned codec makes a film."""

    quality: Whole | None = None
    "From 1, the fewest bytes, to 8, the best pictures. Default: 5."
    bpp: float | None = None
    "Instead of quality: bits a pixel to come close to, such as 0.1, which is 0.69 Mbit/s for 640x432 at 25 a second."
    effort: Whole = 0
    "Time spent on better pictures for fewer bytes, from 0 to 3; decoding takes no longer."
    gop: Whole = 12
    "Frames from one key picture to the next. Decoding begins at key pictures."
    drop_streams: bool = False
    "Leave out sound, subtitles and other streams that the file cannot hold."

    def __post_init__(self) -> None:
        _whole_and_positive(self, "quality", "gop")
        if self.quality is not None and self.bpp is not None:
            raise UsageError("quality and bpp exclude each other; give one of them")
        if self.bpp is not None and not self.bpp > 0:
            raise UsageError(f"bpp is a number of bits a pixel, above 0, got {self.bpp:g}")
        check_effort(self.effort)

    def settings(self) -> dict[str, Any]:
        return {"quality": self.quality_or_default, "bpp": self.bpp, "effort": self.effort, "gop": self.gop}

    @property
    def quality_or_default(self) -> int | None:
        """`quality`, or 5 if neither it nor `bpp` is given; None with `bpp`."""
        return 5 if self.quality is None and self.bpp is None else self.quality


@dataclass(frozen=True)
class Morph(Options):
    """A way from one picture to another."""

    frames: Whole = 48
    "Pictures to make, the first and the last included."
    fps: str | float | Fraction = 24
    "Frame rate of the output, such as 24 or 60000/1001."
    by: Way = "space"
    "Along what: a learned space of pictures, at constant speed; or the motion of what looks alike in both pictures."

    def __post_init__(self) -> None:
        _whole_and_positive(self, "frames")
        if self.frames < 2:
            raise UsageError(f"frames are at least 2, the first and the last picture, got {self.frames}")
        _one_of(self, "by", Way)
        frame_rate(self.fps)

    def settings(self) -> dict[str, Any]:
        return {"frames": self.frames, "fps": str(frame_rate(self.fps)), "by": self.by}


@dataclass(frozen=True)
class Enhance(Denoise, Interpolate):
    """Several tasks in one pass, in the order in which `refilm.tasks.TASKS` lists them."""

    auto: bool = False
    "Look at the film, and do what it asks for; nothing is written if it asks for nothing."
    denoise: bool = False
    "Remove noise."
    deblock: bool = False
    "Remove compression artifacts."
    upscale: Whole | None = None
    "Enlarge width and height by this factor."
    models: Annotated[tuple[str, ...], Parameter(name="--model")] = ()
    "A name from `refilm models`, or a weight file, instead of the default model for its task; can be given repeatedly."
    weights: Annotated[tuple[str, ...], Parameter(name="--weights")] = ()
    "A weight file, which says its model and so its task; can be given repeatedly."

    def __post_init__(self) -> None:
        Interpolate.__post_init__(self)
        Denoise.__post_init__(self)
        _whole_and_positive(self, "upscale")
        if self.sigma is not None and not self.denoise:
            raise UsageError("sigma is the level of the noise to take out; add denoise, or leave out sigma")
        if self.strength is not None and not (self.denoise or self.deblock):
            raise UsageError("strength is about denoise and deblock; add one of them, or leave out strength")
        if self.drop_repeats and self.times is None and self.fps is None:
            raise UsageError("drop-repeats is about interpolation; add times or fps, or leave out drop-repeats")
        wanted = self.wanted()
        if self.auto and wanted:
            raise UsageError(f"auto chooses what to do from the film; leave it out, or {' and '.join(wanted)}")
        if not wanted and not self.auto:
            raise UsageError(
                "nothing is asked for; wanted at least one of denoise, deblock, upscale, times, fps, or auto"
            )

    def wanted(self) -> dict[str, Any]:
        """The options of the tasks that are wanted, by the task's verb, in the order in which they run."""
        found: dict[str, Any] = {}
        if self.denoise:
            found["denoise"] = Denoise(self.sigma, self.strength)
        if self.deblock:
            found["deblock"] = Deblock(self.strength)
        if self.upscale is not None:
            found["upscale"] = Upscale(self.upscale)
        if self.times is not None or self.fps is not None:
            found["interpolate"] = Interpolate(self.times, self.fps, self.drop_repeats)
        return found


def joined_by_plus(text: str) -> tuple[str, ...]:
    """The parts of "A+B", names of models or paths; a path that has a + in it is one part."""
    return (text,) if Path(text).exists() else tuple(part.strip() for part in text.split("+"))


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


def moment(value: Fraction | float | str) -> Fraction:
    """A time in seconds, from a number of seconds, "1:20.5" or "0:01:20.5". Raises UsageError for anything else."""
    found = _MOMENT.fullmatch(str(value))
    if found is not None:
        return 3600 * int(found[1] or 0) + 60 * int(found[2] or 0) + Fraction(found[3])
    try:
        seconds = Fraction(value)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        seconds = Fraction(-1)
    if seconds < 0:
        raise UsageError(f"wanted a time such as 80, 1:20 or 0:01:20.5, got {value!r}")
    return seconds


@cache
def documentation(kind: type) -> dict[str, str]:
    """The documentation of the fields of one of these dataclasses, by their names."""
    told: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        told |= _strings_below_fields(base.__module__).get(base.__name__, {})
    return {field.name: told[field.name] for field in fields(kind)}


@cache
def _strings_below_fields(module: str) -> dict[str, dict[str, str]]:
    """For each class of a module, the string below each field. The source is parsed once for all classes."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        node.name: {
            field.target.id: inspect.cleandoc(below.value.value)
            for field, below in pairwise(node.body)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def taken(kind: type, keywords: dict[str, Any]) -> Any:
    """An instance of `kind`, made from the keywords that are its fields. They are removed from `keywords`."""
    return kind(**{field.name: keywords.pop(field.name) for field in fields(kind) if field.name in keywords})


def _share(strength: float | None) -> None:
    if strength is not None and not 0 <= strength <= 1:
        raise UsageError(f"strength is a number from 0 to 1, got {strength:g}")


def _one_of(options: object, name: str, kind: Any, flag: str | None = None) -> None:
    value = getattr(options, name)
    if value is not None and value not in get_args(kind):
        raise UsageError(f"{flag or '--' + name} is one of {', '.join(get_args(kind))}; got {value}")


def check_effort(effort: int) -> None:
    """Raises UsageError for an effort of a learned codec that is none."""
    if effort not in range(4):
        raise UsageError(f"effort is a whole number from 0 to 3, got {effort}")


def _whole_and_positive(options: object, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is None:
            continue
        try:
            operator.index(value)
        except TypeError:
            way_out = "; --fps takes any rate" if name == "times" else ""
            raise UsageError(f"{name} must be a whole number, got {value}{way_out}") from None
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")


def check_all_known(keywords: Iterable[str], kinds: Iterable[type], function: str) -> None:
    """Raises TypeError, with the nearest name, if there is a keyword that is a field of none of the dataclasses."""
    known = [field.name for kind in kinds for field in fields(kind)]
    for keyword in keywords:
        near = difflib.get_close_matches(keyword, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"{function}() has no option {keyword!r}{hint}")
