"""FFmpeg's filters on frames in memory: through PyAV, or by the command `ffmpeg` where PyAV lacks the filter."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from refilm.video.ffmpeg import run_ffmpeg
from refilm.video.frame import Frame
from refilm.video.planes import picture_of, planes_of

TIME_BASE = Fraction(1, 1000)


def filtered(frames: Iterable[Frame], name: str, arguments: str) -> Iterator[Frame]:
    """What FFmpeg's filter `name=arguments` makes of frames of 8 bit, all of one format and size.

    Through PyAV, times are kept to the millisecond, and durations are those of the first frame. Through the command,
    the filter must leave the number and size of the frames alone, and all frames are held in memory.
    Raises LookupError where neither has the filter.
    """
    if is_in_pyav(name):
        yield from _by_pyav(frames, name, arguments)
    elif shutil.which("ffmpeg") is not None:
        yield from _by_command(frames, name, arguments)
    else:
        raise LookupError(f"PyAV's FFmpeg is built without {name}, and the command ffmpeg is not installed")


def is_in_pyav(name: str) -> bool:
    return name in av.filter.filters_available


def _by_pyav(frames: Iterable[Frame], name: str, arguments: str) -> Iterator[Frame]:
    graph, like = Graph(), None
    for frame in frames:
        if like is None:
            like, layout = frame, VideoFormat(frame.format.name, frame.width, frame.height)
            source = graph.add_buffer(width=like.width, height=like.height, format=layout, time_base=TIME_BASE)
            changed, sink = graph.add(name, arguments), graph.add("buffersink")
            source.link_to(changed)
            changed.link_to(sink)
            graph.configure()
        picture = picture_of(frame.planes, frame.format)
        picture.pts, picture.time_base = int(frame.time / TIME_BASE), TIME_BASE
        graph.push(picture)
        yield from _ready(graph, like)
    if like is not None:
        graph.push(None)
        yield from _ready(graph, like)


def _by_command(frames: Iterable[Frame], name: str, arguments: str) -> Iterator[Frame]:
    whole = list(frames)
    like = whole[0]
    layout = ["-f", "rawvideo", "-pixel_format", like.format.name, "-video_size", f"{like.width}x{like.height}"]
    raw = b"".join(plane.tobytes() for frame in whole for plane in frame.planes)
    done = run_ffmpeg([*layout, "-i", "-", "-vf", f"{name}={arguments}", "-f", "rawvideo", "-"], raw)
    shapes = like.format.plane_shapes(like.height, like.width)
    ends = np.cumsum([height * width for height, width in shapes])
    samples = np.frombuffer(done, np.uint8).reshape(len(whole), ends[-1])
    for frame, row in zip(whole, samples, strict=True):
        planes = np.split(row, ends[:-1])
        yield replace(frame, planes=tuple(p.reshape(shape) for p, shape in zip(planes, shapes, strict=True)))


def _ready(graph: Graph, like: Frame) -> Iterator[Frame]:
    while True:
        try:
            picture = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(picture, VideoFrame)
        assert picture.pts is not None
        assert picture.time_base is not None
        # copied, as the filter takes its buffers back
        planes = tuple(plane.copy() for plane in planes_of(picture, like.format))
        yield Frame(planes, like.format, like.colour, picture.pts * picture.time_base, like.duration)
