"""Filters for VapourSynth: the models over clips, with the pixels that `refilm.stream` gives for the same frames.

    import vapoursynth as vs
    from refilm.export import vapoursynth as refilm

    clip = vs.core.resize.Bicubic(clip, format=vs.RGBS, matrix_in_s="709")
    clip = refilm.denoise(clip)
    clip = refilm.interpolate(clip, times=2)

Frames may be asked for in any order. In order, each is worked on once; after a jump, a model first gets the frames that
it looks at around the new place, as at the beginning of a segment of a job. A model that keeps a state begins anew with
each scene and every 32 frames of the source, as in a job with segments of this length, so that its frames do not depend
on the order either; after a jump it starts from there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from refilm.api import by_name, describe
from refilm.errors import RefilmError
from refilm.jobs.segments import owned
from refilm.options import Running
from refilm.stages.pictures import Form
from refilm.stages.scene_cuts import SceneCuts
from refilm.stages.stage import StreamShape
from refilm.stages.table import Work
from refilm.stream import RUNNING, asked, keywords_in_memory
from refilm.tasks import TASKS, Task
from refilm.video import Frame

try:
    import vapoursynth as vs
except ImportError:
    raise RefilmError(
        "VapourSynth is not installed: pip install vapoursynth, for Python 3.12 or later; or use its own installer"
    ) from None

_SEGMENT = 32  # source frames after which a model with a state begins anew
_AHEAD = 8  # results made and kept on the way to a wanted one: VapourSynth asks in nearly the order of the numbers
_NOMINAL = Fraction(1, 25)  # seconds that a frame is shown which does not say it; such a clip has no times at all
_TEXT = """
Takes a clip in RGBS, and returns one of as many frames, with their properties. Values are not clamped.

A frame with the property _SceneChangePrev, or after one with _SceneChangeNext, is taken for what they say; where
neither is there, scene cuts are found as in a job. Raises vs.Error for wrong clips and options, and when a frame cannot
be made.
"""
_TIMES = """
Takes a clip in RGBS, and returns one that lasts as long, with more frames. Its rate is exact, and so are the durations
of its frames (_DurationNum, _DurationDen). New frames have the other properties of the source's frame before them;
_SceneChangePrev and _SceneChangeNext are removed. After the last frame of the source there is nothing to interpolate,
so it is repeated. A clip of variable frame rate takes times, and not fps.

At a scene cut, the nearer frame is repeated. A frame with the property _SceneChangePrev, or after one with
_SceneChangeNext, is taken for what they say; where neither is there, scene cuts are found as in a job. Raises vs.Error
for wrong clips and options, and when a frame cannot be made.
"""


def _of_task(task: Task) -> Callable[..., vs.VideoNode]:
    def function(clip: vs.VideoNode, *own: Any, **given: Any) -> vs.VideoNode:
        with _errors(task.verb):
            by_name(function, (clip,), task.options, own, given)
            work, running = asked(task, RUNNING, given)
            return _filtered(_Source.of(clip, running.scene_cuts), work, running)

    function.__name__ = function.__qualname__ = task.verb
    text = task.summary.partition("\n")[0] + "\n" + (_TIMES if task.retimes else _TEXT)
    describe(function, text, ("clip",), keywords_in_memory(task, RUNNING), task.options, vs.VideoNode)
    return function


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Errors that a user can fix, as VapourSynth's own."""
    try:
        yield
    except (RefilmError, ValueError, TypeError) as error:
        raise vs.Error(f"refilm: {name}: {error}") from None


@dataclass(frozen=True)
class _Source:
    """The frames of a clip, as stages take them."""

    clip: vs.VideoNode
    form: Form
    honours_cuts: bool

    @classmethod
    def of(cls, clip: vs.VideoNode, honours_cuts: bool) -> _Source:
        """Raises TypeError and ValueError for what no filter here takes."""
        if not isinstance(clip, vs.VideoNode):
            raise TypeError(f"wanted a clip, a vs.VideoNode, got {type(clip).__name__}")
        is_any = clip.format is None or clip.format.id == vs.NONE
        name = "variable format" if is_any else clip.format.name
        if name != "RGBS" or 0 in (clip.width, clip.height):
            got = name if clip.width and clip.height else "variable size"
            raise ValueError(
                f"wanted a clip in RGBS of one size, got {got}; convert it, such as by core.resize.Bicubic(clip, "
                'format=vs.RGBS, matrix_in_s="709")'
            )
        return cls(clip, Form(np.ndarray, np.dtype(np.float32), None, (clip.height, clip.width), False), honours_cuts)

    @property
    def rate(self) -> Fraction | None:
        """Frames a second; None if it varies."""
        return self.clip.fps if self.clip.fps > 0 else None

    @property
    def shape(self) -> StreamShape:
        step = self.duration(self.properties(0))
        return StreamShape(self.clip.width, self.clip.height, 1 / step, step, Fraction(0))

    def properties(self, number: int) -> dict[str, Any]:
        with self.clip.get_frame(number) as frame:
            return dict(frame.props)

    def duration(self, properties: Mapping[str, Any]) -> Fraction:
        """How long a frame with these properties is shown, in seconds."""
        if self.rate is not None:
            return 1 / self.rate
        parts = properties.get("_DurationNum", 0), properties.get("_DurationDen", 0)
        return Fraction(*parts) if min(parts) > 0 else _NOMINAL

    def frames(self, first: int) -> Iterator[Frame]:
        """The frames from number `first` on, with marks at scene cuts if these are honoured.

        In a clip of variable frame rate, times are counted from a frame shortly before.
        """
        if not self.honours_cuts:
            yield from (frame for frame, _ in self._read(first))
            return
        start, told = max(0, first - SceneCuts.context_past), deque[bool | None]()

        def noted() -> Iterator[Frame]:
            for frame, is_cut in self._read(start):
                told.append(is_cut)
                yield frame

        for number, frame in enumerate(SceneCuts().mark(noted()), start):
            is_cut = told.popleft()
            if number >= first:
                yield frame if is_cut is None else replace(frame, starts_scene=is_cut)

    def _read(self, first: int) -> Iterator[tuple[Frame, bool | None]]:
        """Each frame from number `first` on, and what its properties say about a scene that starts with it."""
        time = Fraction(0) if self.rate is None else first / self.rate
        before: Any = None
        for number in range(first, len(self.clip)):
            with self.clip.get_frame(number) as frame:
                if frame.props.get("_FieldBased", 0) > 0:
                    raise ValueError(
                        f"picture {number} is interlaced, as _FieldBased says; deinterlace the clip before, or say "
                        "that it is not, by std.SetFieldBased(clip, 0)"
                    )
                picture = np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=-1)
                told = frame.props.get("_SceneChangePrev", before)
                before = frame.props.get("_SceneChangeNext")
                duration = self.duration(frame.props)
            yield self.form.frame(picture, number, time, duration), None if told is None else bool(told)
            time += duration


@dataclass(frozen=True)
class _Filter:
    """A model's stage over a clip: which frames it makes, and what it makes of a stretch of the clip.

    ratio   output frames for each of the source
    """

    source: _Source
    work: Work
    running: Running
    ratio: Fraction

    @property
    def count(self) -> int:
        return math.ceil(len(self.source.clip) * self.ratio)

    def source_of(self, number: int) -> int:
        """The latest frame of the source at the time of an output frame."""
        return min(number // self.ratio, len(self.source.clip) - 1)

    def begin(self, number: int) -> int:
        """The frame of the source with which work begins for an output frame: its own, or where a state begins."""
        own = self.source_of(number)
        return own - own % _SEGMENT if self.work.model.recurrent else own

    def first_of(self, own: int) -> int:
        """The first output frame not before a frame of the source."""
        return math.ceil(own * self.ratio)

    def properties(self, number: int) -> dict[str, Any]:
        """Those of an output frame: the source's, at the time of the output frame."""
        own = self.source_of(number)
        properties = self.source.properties(own)
        if self.work.task.retimes:
            duration = self.source.duration(properties) / self.ratio
            properties |= {"_DurationNum": duration.numerator, "_DurationDen": duration.denominator}
            if "_AbsoluteTime" in properties:
                properties["_AbsoluteTime"] += float((number - own * self.ratio) * duration)
            properties = {name: value for name, value in properties.items() if not name.startswith("_SceneChange")}
        return properties

    def results(self, first: int) -> Iterator[Frame]:
        """The output frames from the time of source frame `first` on, where work may begin."""
        length = _SEGMENT if self.work.model.recurrent else len(self.source.clip)
        while first < len(self.source.clip):
            yield from self._stretch(first, first + length)
            first += length

    def _stretch(self, first: int, end: int) -> Iterator[Frame]:
        """The output frames of the source frames from `first` to `end`, made as a segment of a job is."""
        running = self.running
        stage = self.work.stage(self.source.shape, running.device, running.tile, running.precision)
        stage.skip = min(stage.past, first)
        begin_time = end_time = None
        for number, frame in enumerate(self.source.frames(first - stage.skip), first - stage.skip):
            if number == end + stage.future:
                return
            begin_time = frame.time if number == first else begin_time
            end_time = frame.time if number == end else end_time
            results = stage.push(frame)
            if number >= first:
                yield from owned(results, begin_time, end_time)
            else:
                deque(results, maxlen=0)
        yield from owned(stage.flush(), begin_time, end_time)


class _AnyOrder:
    """The output frames of a filter in any order: goes on from the latest, or begins anew near the wanted one."""

    def __init__(self, made: _Filter) -> None:
        self._filter = made
        self._next = 0  # number of the next result of `_results`
        self._results: Iterator[Frame] | None = None
        self._kept: dict[int, Frame] = {}  # results that were passed and not asked for yet
        self._latest: Frame

    def __call__(self, number: int) -> Frame:
        if number in self._kept:
            return self._kept.pop(number)
        begin = self._filter.begin(number)
        nearest = self._filter.first_of(begin)
        if self._results is None or number < self._next or nearest > self._next + _AHEAD:
            self._results, self._next = self._filter.results(begin), nearest
        results, self._results = self._results, None  # a generator that has raised gives nothing more
        while self._next <= number:
            # the last frame is shown until the clip ends
            self._latest = self._kept[self._next] = next(results, None) or self._latest
            self._next += 1
            if len(self._kept) > _AHEAD:
                del self._kept[next(iter(self._kept))]
        self._results = results
        return self._kept.pop(number)


def _filtered(source: _Source, work: Work, running: Running) -> vs.VideoNode:
    if getattr(work.options, "fps", None) is not None and source.rate is None:
        raise ValueError("fps needs a clip of constant frame rate; give times, or a rate to the clip by std.AssumeFPS")
    before = source.shape
    after = work.stage(before, running.device, running.tile).shape(before)
    made = _Filter(source, work, running, after.frame_rate / before.frame_rate)
    rate = Fraction(0) if source.rate is None else after.frame_rate
    frames = _AnyOrder(made)

    def frame(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        with _errors(work.task.verb):
            picture = source.form.item(frames(n), with_time=False)
        new = f.copy()
        for plane in range(3):
            np.asarray(new[plane])[...] = picture[..., plane]
        new.props.clear()
        new.props.update(made.properties(n))
        return new

    blank = source.clip.std.BlankClip(
        width=after.width,
        height=after.height,
        length=made.count,
        fpsnum=rate.numerator,
        fpsden=rate.denominator,
        keep=True,
    )
    return blank.std.ModifyFrame(blank, frame)


denoise = _of_task(TASKS["denoising"])
deblock = _of_task(TASKS["deblocking"])
deblur = _of_task(TASKS["deblurring"])
upscale = _of_task(TASKS["super-resolution"])
interpolate = _of_task(TASKS["interpolation"])
