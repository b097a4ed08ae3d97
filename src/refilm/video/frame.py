"""What travels through the pipeline: one picture with its exact time, as the decoder gave it.

Planes stay in the file's own pixel format until a stage asks for RGB, so a frame that no stage changes reaches the
encoder with the very samples that were decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Colour:
    """How sample values map to light, in FFmpeg's words; every field is resolved, never "unknown"."""

    matrix: str = "bt709"  # bt709, smpte170m, bt470bg, bt2020nc, smpte240m, fcc, rgb
    range: str = "tv"  # "tv" (limited) or "pc" (full)
    primaries: str = "bt709"
    transfer: str = "bt709"
    chroma_location: str = "left"  # left, center, topleft: where a subsampled chroma sample sits


@dataclass(frozen=True)
class PixelFormat:
    """The layouts frames are held in; anything else is converted without loss when it is decoded."""

    name: str  # FFmpeg's name: "yuv420p10le", "gbrp", "gray"
    kind: str  # "yuv", "rgb" (planes in order G, B, R as FFmpeg's gbrp) or "gray"
    bits: int  # significant bits a sample
    chroma_w: int = 0  # log2 of the horizontal chroma subsampling
    chroma_h: int = 0  # log2 of the vertical chroma subsampling

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if self.bits == 8 else np.uint16

    def plane_shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """(height, width) of each plane; chroma sizes round up, as in FFmpeg."""
        chroma = (-(-height >> self.chroma_h), -(-width >> self.chroma_w))
        return {"gray": [(height, width)], "rgb": [(height, width)] * 3, "yuv": [(height, width), chroma, chroma]}[
            self.kind
        ]


@dataclass(frozen=True)
class Frame:
    """One picture and its place in time.

    planes     sample arrays [H, W] (chroma smaller where subsampled), uint8 or uint16, the format's order
    time       presentation time in seconds, exact, on the source's clock
    duration   seconds until the next frame
    starts_scene   nothing may be blended or warped between this frame and the one before
    origin     "source": a picture of the file; "restored": one that a model has worked on; "new": one between those
               of the file; "repeated": a picture shown again
    """

    planes: tuple[np.ndarray, ...]
    format: PixelFormat
    colour: Colour
    time: Fraction
    duration: Fraction
    starts_scene: bool = False
    origin: Literal["source", "restored", "new", "repeated"] = "source"

    @property
    def height(self) -> int:
        return self.planes[0].shape[0]

    @property
    def width(self) -> int:
        return self.planes[0].shape[1]

    @property
    def rgb(self) -> Tensor:
        """The picture as [3, H, W] float32, nominal range [0, 1] (codes beyond black and white lie outside)."""
        from refilm.video.colour import to_rgb  # colour.py knows Frame, so the import waits

        return to_rgb(self)

    def at(self, time: Fraction, duration: Fraction) -> Frame:
        """The same picture at another time."""
        return replace(self, time=time, duration=duration)
