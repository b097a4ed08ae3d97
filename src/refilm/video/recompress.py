"""Pictures through a codec and back, in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from av.codec import CodecContext
from av.video.frame import VideoFrame

from refilm.errors import RefilmError
from refilm.video.encoder import repeatable
from refilm.video.ffmpeg import run_ffmpeg
from refilm.video.pixel_format import YUV420P
from refilm.video.planes import picture_of, planes_of

RATE = Fraction(25)  # nominal, and part of what the encoders are told
# Codec -> encoder, decoder, the options that take the quality, and those that make its packets the same each time:
# threads change x264's and x265's.
_CODECS = {
    "h264": ("libx264", "h264", ("crf",), {"threads": "1"}),
    "hevc": ("libx265", "hevc", ("crf",), {"x265-params": "log-level=error:pools=none:frame-threads=1"}),
    "h264-intra": ("libx264", "h264", ("crf",), {"threads": "1", "preset": "superfast", "x264-params": "keyint=1"}),
    "mpeg2": ("mpeg2video", "mpeg2video", ("qmin", "qmax"), {"threads": "1"}),
    "mpeg4": ("mpeg4", "mpeg4", ("qmin", "qmax"), {"threads": "1"}),
}


def recompressed(
    pictures: Sequence[tuple[np.ndarray, ...]], codec: str, quality: float
) -> Iterator[tuple[np.ndarray, ...]]:
    """The planes of yuv420p pictures as they come back from a codec: one scene in, as many pictures out.

    pictures   all of one size, in even numbers of pixels, for hevc at least X265_SMALLEST a side
    codec      "h264", "hevc": x264 and x265 at preset medium; "h264-intra": x264 in a hurry, each picture alone;
               "mpeg2", "mpeg4": FFmpeg's own encoders, the latter of MPEG-4 ASP (as DivX and Xvid);
               "jpeg2000": FFmpeg's own encoder, for which the command `ffmpeg` must be installed, since PyAV cannot
               tell it the quality
    quality    crf of h264 and hevc, -q:v of the others, which is a whole number from 1 to 31 for mpeg2 and mpeg4;
               higher is worse

    Raises ValueError for another codec, RefilmError where the encoder is missing.
    """
    if codec in _CODECS:
        decoded = _through_pyav(pictures, *_CODECS[codec], quality)
    elif codec == "jpeg2000":
        decoded = _through_jpeg2000(pictures, quality)
    else:
        raise ValueError(f"codec must be {', '.join(_CODECS)} or jpeg2000, got {codec!r}")
    count = 0
    for picture in decoded:
        yield planes_of(picture, YUV420P)
        count += 1
    if count != len(pictures):
        raise RefilmError(f"{codec} gave {count} frames for {len(pictures)}; is the encoder broken?")


def _through_pyav(
    pictures: Sequence[tuple[np.ndarray, ...]],
    encoder: str,
    decoder: str,
    scales: tuple[str, ...],
    options: dict[str, str],
    quality: float,
) -> Iterator[VideoFrame]:
    try:
        encode = CodecContext.create(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        raise RefilmError(f"this FFmpeg is built without {encoder}") from None
    assert isinstance(encode, av.VideoCodecContext)
    encode.height, encode.width = pictures[0][0].shape
    encode.pix_fmt, encode.time_base, encode.framerate = YUV420P.name, 1 / RATE, RATE
    encode.options = repeatable(encoder, {**dict.fromkeys(scales, f"{quality:g}"), **options})
    decode = CodecContext.create(decoder, "r")
    assert isinstance(decode, av.VideoCodecContext)
    for number, planes in enumerate(pictures):
        picture = picture_of(planes, YUV420P)
        picture.pts, picture.time_base = number, 1 / RATE
        for packet in encode.encode(picture):
            yield from decode.decode(packet)
    for packet in encode.encode(None):
        yield from decode.decode(packet)
    yield from decode.decode(None)


def _through_jpeg2000(pictures: Sequence[tuple[np.ndarray, ...]], q: float) -> Iterator[VideoFrame]:
    height, width = pictures[0][0].shape
    raw = b"".join(plane.tobytes() for planes in pictures for plane in planes)
    source = ["-f", "rawvideo", "-pixel_format", YUV420P.name, "-video_size", f"{width}x{height}", "-i", "-"]
    encoded = run_ffmpeg([*source, "-c:v", "jpeg2000", "-q:v", str(q), "-f", "nut", "-"], raw)
    with av.open(io.BytesIO(encoded), "r") as file:
        yield from file.decode(video=0)
