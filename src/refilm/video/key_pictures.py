"""Single pictures as AV1 or HEVC: the key pictures of a learned codec that codes none itself."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame

from refilm.errors import VideoError
from refilm.video.coded import BY_AV1, BY_HEVC
from refilm.video.encoder import choose_pix_fmt
from refilm.video.encoder_limits import LARGEST, X265_SMALLEST
from refilm.video.pixel_format import PixelFormat, held_format
from refilm.video.planes import picture_of, planes_of

Planes = tuple[np.ndarray, ...]
FORMATS_OF = "libx265"  # whose formats are those of key pictures


@dataclass(frozen=True)
class Intra:
    """An encoder of single pictures, set so that it gives the same bytes each time.

    how                as a coded picture says it
    encoder, decoder   FFmpeg's names
    options            of the encoder, by the crf that it is to have, on the scale of x264 and x265, and by the effort,
                       0 to 3
    smallest           pixels a side that it takes
    """

    how: int
    encoder: str
    decoder: str
    options: Callable[[float, int], Mapping[str, str]]
    smallest: int


def _of_x265(crf: float, effort: int) -> dict[str, str]:
    alone = "keyint=1:info=0:repeat-headers=1:hrd=0:aud=0:log-level=error:pools=none:frame-threads=1"
    return {"preset": "slow", "tune": "psnr", "crf": f"{min(max(crf, 0), 51):.3f}", "x265-params": alone}


def _of_svt(crf: float, effort: int) -> dict[str, str]:
    own = round(float(np.interp(crf, *SAME_PSNR)))
    return {"preset": str(max(2 - effort, 0)), "crf": str(own), "svtav1-params": "tune=1:lp=1:keyint=1"}


# crfs of x265, and those of SVT-AV1, which go from 1 to 63, that give the same PSNR: measured at preset 4, and within
# 0.7 of what benchmarks/key_pictures.py measures at preset 2.
SAME_PSNR = (8, 14, 17, 20, 24, 28, 32, 36, 40, 51), (1, 2.9, 4.8, 7.5, 13.3, 22.3, 30.6, 37.8, 44.4, 63)
HEVC = Intra(BY_HEVC, "libx265", "hevc", _of_x265, X265_SMALLEST)
AV1 = Intra(BY_AV1, "libsvtav1", "libdav1d", _of_svt, 16)
INTRA = {intra.how: intra for intra in (HEVC, AV1)}
_FORMATS_OF_AV1 = "yuv420p", "yuv420p10le"


def format_for(source: PixelFormat) -> PixelFormat:
    """The format in which pictures of a source are coded: its own, or the one that loses least."""
    return held_format(choose_pix_fmt(FORMATS_OF, source, None))


def best_for(held: PixelFormat, height: int, width: int) -> Intra:
    """What takes the fewest bits for pictures of a format and size: AV1, where SVT-AV1 takes them."""
    widest, highest = LARGEST[AV1.encoder]
    return AV1 if held.name in _FORMATS_OF_AV1 and width <= widest and height <= highest else HEVC


def crf_for(rd_lambda: float) -> float:
    """The crf at which x264 and x265 make about this trade-off of D, of RGB in [0, 1], against bits a pixel.

    For an error of luma in 8-bit levels, H.264's reference encoder has lambda = 0.85 * 2^((QP - 12) / 3).
    """
    return 12 + 3 * math.log2(255**2 / rd_lambda / 0.85)


def encode_picture(planes: Planes, held: PixelFormat, crf: float, intra: Intra, effort: int = 0) -> bytes:
    """A picture with all that its decoding needs. crf, effort: see `Intra`"""
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints errors only, and no banner
    context = av.CodecContext.create(intra.encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    padded = _padded(planes, held, intra.smallest)
    context.height, context.width = padded[0].shape
    context.pix_fmt, context.framerate = held.name, 25  # type: ignore[assignment]
    context.options = dict(intra.options(crf, effort))
    picture = picture_of(padded, held)
    picture.pts = 0
    return b"".join(bytes(packet) for part in (picture, None) for packet in context.encode(part))


def decode_picture(data: bytes, held: PixelFormat, height: int, width: int, intra: Intra) -> Planes:
    """The inverse of `encode_picture`. Raises VideoError for bytes that are not a picture of this format and size."""
    context = av.CodecContext.create(intra.decoder, "r")
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


def _padded(planes: Planes, held: PixelFormat, smallest: int) -> Planes:
    """The planes with even sides that the encoder takes, by repeating the last row and column."""
    height, width = (max(side + side % 2, smallest) for side in planes[0].shape)
    shapes = held.plane_shapes(height, width)
    return tuple(
        np.pad(plane, ((0, rows - plane.shape[0]), (0, columns - plane.shape[1])), "edge")
        for plane, (rows, columns) in zip(planes, shapes, strict=True)
    )
