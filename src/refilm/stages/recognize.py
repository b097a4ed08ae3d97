"""The stage that says what happens in a film, stretch by stretch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.models.contract import APPEARANCE, Recognizer, Restorer
from refilm.stages.demand import Demand, measured
from refilm.stages.findings import Finding
from refilm.stages.restore import Restore
from refilm.stages.running import Later, Restoring
from refilm.stages.snippets import SmallFrame, chosen, clip_of, reduced
from refilm.stages.stage import StreamShape
from refilm.stages.timeline import DIGITS, Stretch
from refilm.video import Frame

# Quality of the pictures that are kept of stretches, as JPEG.
_QUALITY = 85
# Sides, in pixels, of the picture whose enlargement is timed by a trial.
_TRIAL = 96


class Recognize:
    """Cuts a film into stretches about as long as the model wants, and has each recognised. See `Watcher`.

    Stretches begin on a grid that is counted from the first frame of the film: every `every / n` seconds, where n is
    the smallest number with which this is not longer than `sampling.seconds`. So `every` may be of any length: the
    scores of n stretches are joined to those of an event, see `timeline.Joining`. With `shots`, stretches begin at
    scene cuts as well, and an event lasts from one to the next.

    A place of the grid is passed over if a scene cut or the end of the film follows within half a step: what is left is
    too short to be told by itself, and belongs to the stretch before. A stretch is thus at most 1.5 steps long; it is
    shorter than half a step only after a cut, or if the whole film is. Whether a stretch begins somewhere depends on
    what follows within that time only, and so not on where a segment begins.

    With `through`, the frames that the model sees, and no others, are enlarged first by models for super-resolution.
    Frames are then held in their own size, with the neighbours that these models look at.

    every           length of an event in seconds; None: that of the model's stretches
    shots           whether events are shots instead
    through         models that enlarge: none; one; or two, for the streams that look at single frames and for those
                    that look at motion, see `Recognizer.by_stream`
    keeps_pictures  whether to keep a picture of each stretch. To be set before the first frame
    """

    future = skip = 0
    keeps_rate = False
    keeps_pictures = False
    findings: dict[str, Finding] = {}  # noqa: RUF012  # nothing to note

    def __init__(
        self,
        model: Recognizer,
        source: StreamShape,
        device: torch.device | str = "cpu",
        every: Fraction | None = None,
        shots: bool = False,
        through: Sequence[Restorer] = (),
    ) -> None:
        self._model, self._device, self._shots = model, device, shots
        looks_at_single = [stream == APPEARANCE for stream in model.sees]
        if len(through) == 2 and len(set(looks_at_single)) == 1:  # the other one's frames would not be looked at
            through = through[:1] if looks_at_single[0] else through[1:]
        self._through = tuple(through)
        self.past = max((Restoring[int](restorer).past for restorer in through), default=0)
        self._start, self._rotation = source.start_time, source.rotation
        length = every or model.sampling.seconds
        self._apart = max(1, math.ceil(length / model.sampling.seconds))  # stretches in an event
        self._step = length / self._apart
        self.ahead = self._step * 3 / 2
        self._clear()

    def _clear(self) -> None:
        self.opens = True
        self.until: Fraction | None = None
        self._held: list[Frame] = []
        self._context = 0  # frames so far that were context alone
        self._begin: Fraction | None = None  # of the stretch that is going on
        self._first = Fraction(0)  # time of the first frame

    def shape(self, source: StreamShape) -> StreamShape:
        return source

    def demands(self, source: StreamShape) -> list[Demand]:
        sampling = self._model.sampling
        picture = 3 * sampling.height * sampling.width
        # what is held for this stage, for the next segment's, and for the clip, twice and in single precision
        frames = math.ceil((self.ahead + 2 * self._step) * source.frame_rate) + self.past
        clip = 5 * picture * sampling.frames * max(len(self._through), 1)
        held = 3 * source.width * source.height if self._through else picture
        size = sampling.width, sampling.height
        taken = measured(self._random_clip, self._scores, [size], torch.device(self._device))
        demands = [Demand("recognize", held * frames + clip, at_once=taken, width=size[0], height=size[1])]
        for restorer in self._through:
            enlarging = Restore("recognize", restorer, None, self._device).demands(source)
            demands += [replace(demand, reach=None) for demand in enlarging]
        return demands

    def seconds_a_frame(self, source: StreamShape) -> float:
        clip = self._random_clip(self._model.sampling.width, self._model.sampling.height)
        self._scores(*clip)  # the first run is slower
        began = time.perf_counter()
        self._scores(*clip)
        stretch = time.perf_counter() - began
        for restorer in self._through:
            stretch += self._model.sampling.frames * self._seconds_to_enlarge(restorer, source)
        return stretch / float(self._step * source.frame_rate)

    def _seconds_to_enlarge(self, restorer: Restorer, source: StreamShape) -> float:
        """The seconds that a frame takes, from those of a smaller picture."""
        picture = torch.rand(3, min(source.height, _TRIAL), min(source.width, _TRIAL))
        for _ in range(2):  # the first run is slower
            began = time.perf_counter()
            for _, result in Restoring[int](restorer, device=self._device).over([(0, lambda: picture)]):
                result()
        seconds = time.perf_counter() - began
        return seconds * source.width * source.height / picture[0].numel()

    def reduced(self, frame: Frame) -> Frame:
        return frame if self._through else self._small(frame)

    def _small(self, frame: Frame) -> SmallFrame:
        return reduced(frame, self._model.sampling.height, self._model.sampling.width, self._rotation)

    def push(self, frame: Frame) -> Iterator[Stretch]:
        frame = self.reduced(frame)
        if self._context < self.skip:
            self._context += 1
            self._held.append(frame)
            return
        if self._begin is None:
            self._enter(frame)
        yield from self._up_to(frame.time)
        assert self._begin is not None
        if self._shots and frame.starts_scene and frame.time > self._begin:
            yield from self._next(frame.time, closes=True)
        self._held.append(frame)
        yield from self._up_to(frame.time + frame.duration)

    def flush(self) -> Iterator[Stretch]:
        if self._begin is not None:
            end = self._held[-1].time + self._held[-1].duration
            yield from self._next(end, closes=True)
        self._clear()

    def _enter(self, frame: Frame) -> None:
        """Begin with the first frame: of the film, or of a segment, in which a stretch may be going on."""
        self._first = self._begin = frame.time
        if not self.opens and not (self._shots and frame.starts_scene):
            # the last place of the grid before it; the stretch from there belongs to the segment before
            self._begin = self._start + (math.ceil((frame.time - self._start) / self._step) - 1) * self._step

    def _up_to(self, time: Fraction) -> Iterator[Stretch]:
        """The stretches that are known to be complete if there is neither a cut nor the end before `time`."""
        assert self._begin is not None
        while True:
            number = math.floor((self._begin - self._start) / self._step) + 1
            place = self._start + number * self._step
            if time < place + self._step / 2:
                return
            yield from self._next(place, closes=not self._shots and number % self._apart == 0)

    def _next(self, end: Fraction, closes: bool) -> Iterator[Stretch]:
        """The stretch that ends at `end`, unless it is another segment's. The next one begins there.

        closes   whether an event ends with it
        """
        begin = self._begin
        assert begin is not None
        if begin >= self._first and (self.until is None or begin < self.until):
            yield self._seen(begin, end, closes)
        self._begin = end
        # the frame that is shown when the next one begins is needed on, and so are those that are looked at with it
        kept = self.past + 1
        while len(self._held) > kept and self._held[kept].time <= end:
            del self._held[0]

    def _seen(self, begin: Fraction, end: Fraction, closes: bool) -> Stretch:
        places = chosen(self._model.sampling, [frame.time for frame in self._held], begin, end)
        shown = [self._enlarged(restorer, places) for restorer in self._through]
        shown = shown or [{place: self._small(self._held[place]) for place in places}]
        clips = [[frames[place] for place in places] for frames in shown]
        (scores,) = self._scores(*(clip_of(frames)[None].to(self._device) for frames in clips)).tolist()
        rounded = tuple(round(score, DIGITS) for score in scores)
        picture = _jpeg(clips[0][len(places) // 2]) if self.keeps_pictures else b""
        return Stretch(begin, end, closes, rounded, picture)

    def _enlarged(self, restorer: Restorer, places: Sequence[int]) -> dict[int, SmallFrame]:
        """By their places among those that are held, frames that were enlarged, and reduced to the recogniser's size.

        The models look at frames that follow only as far as these are held when the stretch is complete: some half a
        step, unless a cut or the end of the film comes before. So this does not depend on where a segment ends.
        """
        run = Restoring[int](restorer, device=self._device)
        found = {}
        first, behind = max(min(places) - run.past, 0), max(places) + run.future + 1
        for place, result in _over(run, self._held[first:behind]):
            if first + place in places:
                found[first + place] = self._small(self._held[first + place].with_rgb(result()))
        return found

    @torch.inference_mode()
    def _scores(self, *clips: Tensor) -> Tensor:
        """[N, 3, T, H, W], or two of them as for `through` -> [N, len(labels)], their sum is 1"""
        if len(clips) == 1:
            logits: Tensor = self._model(clips[0])
        else:
            single, motion = (self._model.by_stream(clip) for clip in clips)
            logits = sum((single if name == APPEARANCE else motion)[name] for name in motion)  # type: ignore[assignment]
        return logits.float().softmax(dim=1).cpu()

    def _random_clip(self, width: int, height: int) -> tuple[Tensor, ...]:
        shape = (1, 3, self._model.sampling.frames, height, width)
        return tuple(torch.rand(shape, device=self._device) for _ in range(max(len(self._through), 1)))


def _over(run: Restoring[int], frames: Sequence[Frame]) -> Iterator[tuple[int, Later[Tensor]]]:
    """The results for frames of a stream, by their number; scene cuts are respected."""
    for number, frame in enumerate(frames):
        yield from run.push(number, partial(_rgb, frame), frame.starts_scene)
    yield from run.flush()


def _rgb(frame: Frame) -> Tensor:
    return frame.rgb


def _jpeg(frame: SmallFrame) -> bytes:
    green, blue, red = frame.planes
    _, data = cv2.imencode(".jpg", np.stack([blue, green, red], axis=-1), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes()
