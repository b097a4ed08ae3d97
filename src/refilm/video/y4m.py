"""Writing YUV4MPEG2 (y4m), the format of uncompressed video in pipes.

It has one frame rate, the shape of pixels, the range of codes and the place of chroma, and says no more about colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from refilm.video.colour import Colour
from refilm.video.frame import Frame
from refilm.video.pixel_format import PixelFormat, held_format

_SUBSAMPLINGS = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (2, 0): "411"}
_SITES = {"left": "mpeg2", "center": "jpeg", "topleft": "paldv"}  # of 4:2:0 at 8 bit; no others are told


def y4m_format(source: PixelFormat) -> PixelFormat:
    """The format of y4m that holds all samples of `source`: itself, unless that is RGB or of a rare subsampling."""
    if source.kind == "gray" and source.bits != 14:
        return source
    is_held = source.kind == "yuv" and (source.chroma_w, source.chroma_h) in _SUBSAMPLINGS
    if is_held and (source.bits == 8 or (source.chroma_w, source.chroma_h) != (2, 0)):
        return source
    bits = 16 if source.kind == "gray" else source.bits
    kind = "gray" if source.kind == "gray" else "yuv444p"
    return held_format(kind if bits == 8 else f"{kind}{bits}le")


@dataclass(frozen=True)
class Y4mSettings:
    """What the header of a stream says, and how its frames are made.

    format, colour   of the frames that are written
    rate             frames a second
    aspect           width by height of a pixel
    """

    format: PixelFormat
    colour: Colour
    width: int
    height: int
    rate: Fraction
    aspect: Fraction

    def header(self) -> bytes:
        fmt = self.format
        if fmt.kind == "gray":
            layout = "mono" if fmt.bits == 8 else f"mono{fmt.bits}"
        else:
            layout = _SUBSAMPLINGS[fmt.chroma_w, fmt.chroma_h]
            if fmt.bits > 8:
                layout += f"p{fmt.bits}"
            elif layout == "420":
                layout += _SITES.get(self.colour.chroma_location, "mpeg2")
        levels = "FULL" if self.colour.range == "pc" else "LIMITED"
        return (
            f"YUV4MPEG2 W{self.width} H{self.height} F{self.rate.numerator}:{self.rate.denominator} Ip "
            f"A{self.aspect.numerator}:{self.aspect.denominator} C{layout} XYSCSS={layout.upper()} "
            f"XCOLORRANGE={levels}\n"
        ).encode()


class Y4mWriter:
    """Writes frames, each as long as `settings.rate` says.

    A frame that is due later than the next place is preceded by repeats of the one before it, and one that is due
    where another stands already is left out. `repeated` and `left_out` count them.
    """

    def __init__(self, stream: BinaryIO, settings: Y4mSettings) -> None:
        self.repeated = self.left_out = 0
        self._stream, self._settings = stream, settings
        self._begin: Fraction | None = None  # time of the first frame, in seconds
        self._places = 0  # that are written
        self._latest: tuple[np.ndarray, ...] = ()
        stream.write(settings.header())

    def write(self, frame: Frame) -> None:
        if self._begin is None:
            self._begin = frame.time
        place = round((frame.time - self._begin) * self._settings.rate)
        if place < self._places:
            self.left_out += 1
            return
        for _ in range(place - self._places):
            self._put(self._latest)
            self.repeated += 1
        if frame.format != self._settings.format:
            frame = frame.converted(self._settings.format, self._settings.colour)
        self._latest = frame.planes
        self._put(frame.planes)
        self._places = place + 1

    def _put(self, planes: tuple[np.ndarray, ...]) -> None:
        self._stream.write(b"FRAME\n")
        for plane in planes:
            self._stream.write(np.ascontiguousarray(plane).astype(plane.dtype.newbyteorder("<"), copy=False).data)
