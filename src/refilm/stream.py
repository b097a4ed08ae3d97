"""Frames in, frames out: models over the pictures of a program, as jobs run them over a file.

    for picture in refilm.stream.denoise(pictures):                                  # numpy or torch, [H, W, 3]
    for time, picture in refilm.stream.interpolate(pictures, times=2, input_fps=25):
    for frame in refilm.stream.upscale(refilm.open("in.mp4")):                       # Frames with times and colour
    for event in refilm.stream.recognize(pictures, input_fps=25):                    # what happens, and when
    for found in refilm.stream.detect(pictures, input_fps=25):                       # the objects of each picture

Each function takes an iterable and returns a generator, which reads a few pictures ahead: as many as the model looks
at, and two for scene cuts. Memory does not grow with length. Closing the generator, or dropping it, frees everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from itertools import chain
from typing import Any

from refilm import options
from refilm.api import MODEL, by_name, describe, keywords_of, work_of
from refilm.jobs.device import check_device, use_threads
from refilm.options import Running, frame_rate
from refilm.stages.detections import Detections
from refilm.stages.linking import Linking
from refilm.stages.pictures import Form, Item
from refilm.stages.scene_cuts import SceneCuts
from refilm.stages.stage import Stage, StreamShape
from refilm.stages.table import Work, check_tile
from refilm.stages.timeline import Event, Joining, event_of
from refilm.tasks import TASKS, Task
from refilm.video import Frame

_ANY = StreamShape(64, 64, Fraction(25), Fraction(1, 25), Fraction(0))
RUNNING = ("device", "precision", "scene_cuts", "tile", "threads")
_WATCHING = ("device", "threads", "input_fps")
_OF_EVENTS = ("every", "shots", "topk", "from_small", "through", *_WATCHING)
_DETECTING = ("device", "scene_cuts", "threads", "input_fps")
_TEXT = """
Takes an iterable of pictures, and returns a generator of as many results, in the same kind and dtype.

A picture is a numpy array or a torch tensor [H, W, 3] in RGB, uint8, or floating point in 0 ... 1 (results in floating
point are not clamped); or a Frame, as refilm.open gives them. It may come in a pair (time, picture), and so do results
then. All pictures of a stream are alike. Raises UsageError for wrong options when called; ValueError and TypeError,
with the number of the picture, for wrong pictures, and ValueError if there is none; WeightsError as create_model.
"""
_TIMES = """
Takes an iterable of (time, picture), with exact times in seconds (a Fraction, or an int), and returns a generator of
(time, picture) with more of them, at exact times. Pictures without times follow each other at input_fps, from 0 on.
Frames, as refilm.open gives them, have their times, and Frames are given back.

A picture is a numpy array or a torch tensor [H, W, 3] in RGB, uint8, or floating point in 0 ... 1 (results in floating
point are not clamped). All pictures of a stream are alike; results have the same kind and dtype. Raises UsageError for
wrong options when called; ValueError and TypeError, with the number of the picture, for wrong pictures and times, and
ValueError if there is none; WeightsError as create_model.
"""
_EVENTS = """
Takes an iterable of (time, picture), with exact times in seconds (a Fraction, or an int), and returns a generator of
Events, each as soon as it is complete: start and end in seconds on the same clock, and the likeliest labels. Pictures
without times follow each other at input_fps, from 0 on. Frames, as refilm.open gives them, have their times.

A picture is a numpy array or a torch tensor [H, W, 3] in RGB, uint8, or floating point in 0 ... 1. Raises as the other
functions of this module.
"""
_OBJECTS = """
Takes an iterable of (time, picture), with exact times in seconds (a Fraction, or an int), and returns a generator of
Detections, one for each picture, a few pictures later: its number, its time on the same clock, and its objects.
Pictures without times follow each other at input_fps, from 0 on. Frames, as refilm.open gives them, have their times.

A picture is a numpy array or a torch tensor [H, W, 3] in RGB, uint8, or floating point in 0 ... 1. Raises as the other
functions of this module.
"""
_TILE = "Side in pixels of the tiles in which a model processes large pictures, to save memory. Default: no tiles."
_USUAL = "Usual number of pictures a second. Default, where they have times: that of the first two."


def _of_task(task: Task) -> Callable[..., Iterator[Any]]:
    is_timed = task.retimes
    taken = RUNNING + ("input_fps",) * is_timed
    keywords = keywords_in_memory(task, taken)
    if is_timed:
        keywords["input_fps"] = (None, _USUAL)

    def function(pictures: Iterable[Item], *own: Any, **given: Any) -> Iterator[Any]:
        by_name(function, (pictures,), task.options, own, given)
        return _results(pictures, *asked(task, taken, given), is_timed)

    function.__name__ = function.__qualname__ = task.verb
    summary = task.summary.partition("\n")[0]
    describe(
        function, summary + "\n" + (_TIMES if is_timed else _TEXT), ("pictures",), keywords, task.options, Iterator
    )
    return function


def keywords_in_memory(task: Task, taken: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """The default and the documentation of each keyword of a function that restores or interpolates without a job.

    taken   fields of Running that the function takes
    """
    known, others = keywords_of(task.options, Running), {field.name for field in fields(Running)} - set(taken)
    return {name: told for name, told in known.items() if name not in others} | MODEL | {"tile": (None, _TILE)}


def asked(task: Task, taken: Sequence[str], given: dict[str, Any]) -> tuple[Work, Running]:
    """The work and how it runs, from the keywords of a function. Raises for those that are wrong.

    taken   fields of Running that the function takes
    """
    model, weights = given.pop("model", None), given.pop("weights", "default")
    work = work_of(task, options.taken(task.options, given), model, weights)
    running = Running(**{name: given.pop(name) for name in taken if name in given})
    options.check_all_known(given, (task.options,), task.verb)
    check_device(running.device)
    use_threads(running.threads)
    check_tile([work], running.tile)
    work.stage(_ANY, running.device, None, running.precision)  # for errors
    return work, running


def _results(items: Iterable[Item], work: Work, running: Running, is_timed: bool) -> Iterator[Any]:
    form, shape, frames = _opened(items, work, running, is_timed)
    for result in _through(work.stage(shape, running.device, running.tile, running.precision), frames):
        yield form.item(result, is_timed)


def _opened(
    items: Iterable[Item], work: Work, running: Running, is_timed: bool
) -> tuple[Form, StreamShape, Iterator[Frame]]:
    """The form and the properties of a stream, and its frames, with marks at scene cuts if these are wanted."""
    rest = iter(items)
    try:
        first = next(rest)
    except StopIteration:
        raise ValueError("the stream is empty: wanted at least one picture") from None
    form = Form.of(first, 0)
    rate = None if running.input_fps is None else frame_rate(running.input_fps)
    if is_timed and rate is None and not form.is_timed:
        raise ValueError(f"{work.task.name} needs times: give pairs (time, picture), or input_fps")
    usual = rate or Fraction(25)
    frames = form.frames(chain([first], rest), usual, 1 / usual)
    opening = next(frames)
    step = 1 / rate if rate else opening.duration
    shape = StreamShape(opening.width, opening.height, 1 / step, step, opening.time)
    frames = chain([opening], frames)
    return form, shape, SceneCuts().mark(frames) if running.scene_cuts else frames


def _through(stage: Stage, frames: Iterator[Frame]) -> Iterator[Any]:
    for frame in frames:
        yield from stage.push(frame)
    yield from stage.flush()


denoise = _of_task(TASKS["denoising"])
deblock = _of_task(TASKS["deblocking"])
deblur = _of_task(TASKS["deblurring"])
upscale = _of_task(TASKS["super-resolution"])
interpolate = _of_task(TASKS["interpolation"])


def recognize(pictures: Iterable[Item], *own: Any, **given: Any) -> Iterator[Event]:
    by_name(recognize, (pictures,), options.Recognize, own, given)
    work, running = asked(TASKS["recognition"], _WATCHING, given)
    return _events(pictures, work, replace(running, scene_cuts=work.options.looks_for_cuts(running.scene_cuts)))


def _events(items: Iterable[Item], work: Work, running: Running) -> Iterator[Event]:
    _, shape, frames = _opened(items, work, running, is_timed=True)
    stretches = _through(work.stage(shape, running.device, None), frames)
    for whole in Joining().over(stretches):
        yield event_of(whole, work.model.labels, work.options.topk)


describe(
    recognize,
    TASKS["recognition"].summary.partition("\n")[0] + "\n" + _EVENTS,
    ("pictures",),
    {name: told for name, told in keywords_of(options.Recognize, Running).items() if name in _OF_EVENTS}
    | MODEL
    | {"input_fps": (None, _USUAL)},
    options.Recognize,
    Iterator[Event],
)


def detect(pictures: Iterable[Item], *own: Any, **given: Any) -> Iterator[Detections]:
    by_name(detect, (pictures,), options.Detect, own, given)
    return _objects(pictures, *asked(TASKS["detection"], _DETECTING, given))


def _objects(items: Iterable[Item], work: Work, running: Running) -> Iterator[Detections]:
    _, shape, frames = _opened(items, work, running, is_timed=True)
    yield from Linking().over(_through(work.stage(shape, running.device, None), frames))


describe(
    detect,
    TASKS["detection"].summary.partition("\n")[0] + "\n" + _OBJECTS,
    ("pictures",),
    {name: told for name, told in keywords_of(options.Detect, Running).items() if name in ("min_score", *_DETECTING)}
    | MODEL
    | {"input_fps": (None, _USUAL)},
    options.Detect,
    Iterator[Detections],
)
