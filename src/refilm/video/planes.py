"""Planes of samples into PyAV's pictures, and out of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from refilm.video.pixel_format import PixelFormat


def picture_of(planes: Sequence[np.ndarray], fmt: PixelFormat) -> VideoFrame:
    """A picture with a copy of the samples."""
    height, width = planes[0].shape
    picture = VideoFrame(width, height, fmt.name)
    for rows, samples in zip(_rows(picture, fmt), planes, strict=True):
        rows[...] = samples
    return picture


def planes_of(picture: VideoFrame, fmt: PixelFormat) -> tuple[np.ndarray, ...]:
    """The samples of a picture in `fmt`, not copied; they keep its memory from being used again."""
    return tuple(_rows(picture, fmt))


def _rows(picture: VideoFrame, fmt: PixelFormat) -> list[np.ndarray]:
    """A view of each plane, without the padding at the end of each row."""
    views = []
    for plane, (height, width) in zip(picture.planes, fmt.plane_shapes(picture.height, picture.width), strict=True):
        buffer: Any = plane
        samples = np.frombuffer(buffer, fmt.dtype)
        row = plane.line_size // samples.itemsize
        views.append(samples[: row * height].reshape(height, row)[:, :width])
    return views
