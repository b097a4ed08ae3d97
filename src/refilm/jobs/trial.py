"""How long a frame takes, tried before the work on small pictures."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from refilm.errors import VideoError
from refilm.jobs.sink import Sink
from refilm.stages.stage import Stage, StreamShape, TimesItself
from refilm.video import Frame, VideoInfo
from refilm.video.encoder import EncoderSettings

# Sides, in pixels, of the pictures on which stages and the encoder are tried; smaller if the film's are.
_SIDE, _ENCODED_SIDE = 96, 192
# Frames that are timed after a first one, which is slower: so many, or fewer if they take longer than this.
_TIMED, _SECONDS_TIMED = 3, 0.5
# Frames that are encoded.
_ENCODED = 12


def stage_seconds(make_stage: Callable[[VideoInfo, int | None], Stage], source: VideoInfo) -> float:
    """The seconds that the stages take for a frame of the source, tried on small pictures."""
    stage = make_stage(source, None)
    if isinstance(stage, TimesItself):
        return stage.seconds_a_frame(StreamShape.of(source))
    sides = _sides(source.width, source.height, _SIDE)
    small = replace(source, width=sides[0], height=sides[1])
    stage = make_stage(small, None)
    stage.skip = stage.past
    frames = _pictures(small)
    for _, frame in zip(range(stage.past + stage.future + 1), frames, strict=False):
        for _ in stage.push(frame):
            pass
    began, count = time.perf_counter(), 0
    while count < _TIMED and time.perf_counter() - began < _SECONDS_TIMED:
        for _ in stage.push(next(frames)):
            pass
        count += 1
    taken = (time.perf_counter() - began) / count
    return taken * (source.width * source.height) / (sides[0] * sides[1])


def encoder_seconds(sink: Sink, settings: Any, source: VideoInfo) -> float:
    """The seconds that the encoder takes for what comes of a frame of the source; 0 for sinks without one."""
    if not isinstance(settings, EncoderSettings):
        return 0.0
    sides = _sides(settings.width, settings.height, _ENCODED_SIDE)
    frames = itertools.islice(_pictures(replace(source, width=sides[0], height=sides[1])), _ENCODED)
    small = replace(settings, width=sides[0], height=sides[1])
    try:
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            writer = sink.writer(Path(folder) / "trial", small)
            for frame in frames:
                writer.write(frame)
            writer.close()
            taken = (time.perf_counter() - began) / _ENCODED
    except VideoError:  # it may take no pictures as small
        return 0.0
    larger = Fraction(settings.width * settings.height, sides[0] * sides[1])
    return taken * float(larger * settings.frame_rate / source.frame_rate)


def _sides(width: int, height: int, most: int) -> list[int]:
    return [min(side, most) // 2 * 2 or side for side in (width, height)]


def _pictures(source: VideoInfo) -> Iterator[Frame]:
    """Pictures in the source's format and of its size, without end: a rough texture that moves, under faint noise."""
    held, draw = source.format, np.random.default_rng(0)
    shapes, top = held.plane_shapes(source.height, source.width), (1 << held.bits) - 1
    textures = [cv2.resize(draw.random((9, 16)), shape[::-1], interpolation=cv2.INTER_CUBIC) for shape in shapes]
    step = 1 / source.frame_rate
    for number in itertools.count():
        moved = [np.roll(texture, 2 * number, 1) + draw.normal(0, 0.01, texture.shape) for texture in textures]
        planes = tuple((plane * top).clip(0, top).astype(held.dtype) for plane in moved)
        yield Frame(planes, held, source.colour, source.start_time + number * step, step)
