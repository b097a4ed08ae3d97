"""The pixel formats that frames are held in, and which of them takes each other format without loss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from av import VideoFormat

from refilm.errors import VideoError

_CHROMA = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
_DEPTHS = (8, 9, 10, 12, 14, 16)


@dataclass(frozen=True)
class PixelFormat:
    """A layout that frames are held in; anything else is converted without loss when it is decoded."""

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


YUV420P = PixelFormat("yuv420p", "yuv", 8, 1, 1)


def _suffix(bits: int) -> str:
    return "" if bits == 8 else f"{bits}le"


@cache
def held_format(name: str) -> PixelFormat:
    """The planar format that holds every sample of FFmpeg's format `name` (nv12 -> yuv420p, rgb24 -> gbrp, ...).

    Alpha is not held. Raises VideoError for formats without such a twin (Bayer mosaics, float, hardware surfaces).
    """
    source = VideoFormat(name)
    wide = max((component.bits for component in source.components), default=0)
    bits = next((depth for depth in _DEPTHS if depth >= wide), None)
    if (
        not source.components
        or bits is None
        or source.is_bayer
        or "f32" in name
        or "f16" in name
        or name.startswith("xyz")
    ):
        raise VideoError(f"pixel format {name} is not supported; convert first: ffmpeg -i IN -pix_fmt yuv444p16le OUT")
    if source.is_rgb or source.has_palette:
        return PixelFormat(f"gbrp{_suffix(bits)}", "rgb", bits)
    if len(source.components) < 3:
        return PixelFormat(f"gray{_suffix(bits)}", "gray", bits)
    # chroma_width() of 64 luma samples tells the shift
    shift = (6 - source.chroma_width(64).bit_length() + 1, 6 - source.chroma_height(64).bit_length() + 1)
    if shift not in _CHROMA:
        raise VideoError(f"pixel format {name} is not supported; convert first: ffmpeg -i IN -pix_fmt yuv444p OUT")
    return PixelFormat(f"yuv{_CHROMA[shift]}p{_suffix(bits)}", "yuv", bits, *shift)


def is_full_range(name: str) -> bool:
    """FFmpeg's yuvj formats say full range in their name."""
    return name.startswith("yuvj")


def has_alpha(name: str) -> bool:
    return any(component.is_alpha for component in VideoFormat(name).components) or name == "pal8"
