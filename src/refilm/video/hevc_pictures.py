"""Single pictures as HEVC: the key pictures of a learned codec that codes none itself."""

from __future__ import annotations

import math

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame

from refilm.errors import VideoError
from refilm.video.encoder import choose_pix_fmt
from refilm.video.encoder_limits import X265_SMALLEST
from refilm.video.pixel_format import PixelFormat, held_format
from refilm.video.planes import picture_of, planes_of

ENCODER = "libx265"
_OPTIONS = {
    "preset": "slow",
    # nothing but the picture, the same each time
    "x265-params": "keyint=1:info=0:repeat-headers=1:hrd=0:aud=0:log-level=error:pools=none:frame-threads=1",
}
Planes = tuple[np.ndarray, ...]


def format_for(source: PixelFormat) -> PixelFormat:
    """The format in which pictures of a source are coded: its own, or the one that loses least."""
    return held_format(choose_pix_fmt(ENCODER, source, None))


def crf_for(rd_lambda: float) -> float:
    """The crf at which x264 and x265 make about this trade-off of D, of RGB in [0, 1], against bits a pixel.

    For an error of luma in 8-bit levels, H.264's reference encoder has lambda = 0.85 * 2^((QP - 12) / 3).
    """
    return 12 + 3 * math.log2(255**2 / rd_lambda / 0.85)


def encode_picture(planes: Planes, held: PixelFormat, crf: float) -> bytes:
    """A picture as HEVC, with all that its decoding needs."""
    context = av.CodecContext.create(ENCODER, "w")
    assert isinstance(context, av.VideoCodecContext)
    padded = _padded(planes, held)
    context.height, context.width = padded[0].shape
    context.pix_fmt, context.framerate = held.name, 25  # type: ignore[assignment]
    context.options = _OPTIONS | {"crf": f"{min(max(crf, 0), 51):.3f}"}
    picture = picture_of(padded, held)
    picture.pts = 0
    return b"".join(bytes(packet) for part in (picture, None) for packet in context.encode(part))


def decode_picture(data: bytes, held: PixelFormat, height: int, width: int) -> Planes:
    """The inverse of `encode_picture`. Raises VideoError for bytes that are not a picture of this format and size."""
    context = av.CodecContext.create("hevc", "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1
    try:
        found = [picture for part in (av.Packet(data), None) for picture in context.decode(part)]
    except av.error.FFmpegError as error:
        raise VideoError(f"a key picture is damaged ({error.strerror})") from error
    if len(found) != 1 or found[0].format.name != held.name or not _covers(found[0], height, width):
        raise VideoError("a key picture is damaged")
    shapes = held.plane_shapes(height, width)
    return tuple(
        np.ascontiguousarray(plane[:rows, :columns])
        for plane, (rows, columns) in zip(planes_of(found[0], held), shapes, strict=True)
    )


def _covers(picture: VideoFrame, height: int, width: int) -> bool:
    return picture.height >= height and picture.width >= width


def _padded(planes: Planes, held: PixelFormat) -> Planes:
    """The planes with sides that x265 takes, by repeating the last row and column."""
    height, width = (max(side + side % 2, X265_SMALLEST) for side in planes[0].shape)
    shapes = held.plane_shapes(height, width)
    return tuple(
        np.pad(plane, ((0, rows - plane.shape[0]), (0, columns - plane.shape[1])), "edge")
        for plane, (rows, columns) in zip(planes, shapes, strict=True)
    )
