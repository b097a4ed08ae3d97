"""What travels through the pipeline: one picture with its exact time, as the decoder gave it.

Planes stay in the file's own pixel format until a stage asks for RGB, so a frame that no stage changes reaches the
encoder with the very samples that were decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from refilm.video.colour import Colour
from refilm.video.pixel_format import PixelFormat

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """One picture and its place in time.

    planes     sample arrays [H, W] (chroma smaller where subsampled), uint8 or uint16, the format's order
    time       presentation time in seconds, exact, on the source's clock
    duration   seconds until the next frame
    starts_scene   nothing may be blended or warped between this frame and the one before
    origin     "source": a picture of the file; "restored": one that a model has worked on; "new": one between those
               of the file; "repeated": a picture shown again
    position   where its packet lies in the file, -1 if unknown; None: seeking to its time would not lead to it
    """

    planes: tuple[np.ndarray, ...]
    format: PixelFormat
    colour: Colour
    time: Fraction
    duration: Fraction
    starts_scene: bool = False
    origin: Literal["source", "restored", "new", "repeated"] = "source"
    position: int | None = None

    @property
    def height(self) -> int:
        return self.planes[0].shape[0]

    @property
    def width(self) -> int:
        return self.planes[0].shape[1]

    def upright_size(self, rotation: int) -> tuple[int, int]:
        """(height, width) as shown by a player that turns the picture by so many degrees, a multiple of 90."""
        return (self.width, self.height) if rotation % 180 else (self.height, self.width)

    @property
    def rgb(self) -> Tensor:
        """The picture as [3, H, W] float32, nominal range [0, 1] (codes beyond black and white lie outside).

        A new tensor each time, which the caller may change.
        """
        from refilm.video.rgb import to_rgb  # imported late: the reading process makes frames and does without torch

        return to_rgb(self.planes, self.format, self.colour)

    def with_rgb(self, rgb: Tensor) -> Frame:
        """The frame with another picture, in the same format and colour; [3, H, W], whose size may be another."""
        from refilm.video.rgb import from_rgb  # imported late, as above

        return replace(self, planes=from_rgb(rgb, self.format, self.colour))

    def converted(self, fmt: PixelFormat, colour: Colour) -> Frame:
        """The same picture in another format and colour, through RGB clamped to [0, 1]."""
        return replace(self, format=fmt, colour=colour).with_rgb(self.rgb.clamp_(0, 1))

    def at(self, time: Fraction, duration: Fraction) -> Frame:
        """The same picture at another time."""
        return replace(self, time=time, duration=duration)
