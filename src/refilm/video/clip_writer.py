"""Short clips as a pack keeps them: a video file of RGB pictures that any FFmpeg decodes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
from torch import Tensor

from refilm.errors import VideoError
from refilm.video.colour import Colour
from refilm.video.encoder import EncoderSettings, add_video_stream, choose_codec
from refilm.video.frame import Frame
from refilm.video.piece_writer import to_picture
from refilm.video.pixel_format import YUV420P
from refilm.video.rgb import from_rgb
from refilm.video.tags import ColourTags

BT709 = ColourTags(matrix=1, range=1, primaries=1, transfer=1)
RATE = Fraction(25)  # nominal: who reads a clip counts frames, not seconds


def write_clip(path: Path, pictures_u8: Sequence[Tensor], crf: float) -> None:
    """Write an MP4 file of HEVC in yuv420p, BT.709, limited range, whatever its name ends in.

    pictures_u8   RGB bytes [3, H, W], all of one size, which is at least X265_SMALLEST a side
    crf           x265's quality; higher is worse

    Raises VideoError if the file cannot be written, such as on a full disk.
    """
    _, height, width = pictures_u8[0].shape
    codec = choose_codec(path, "libx265", YUV420P)
    options = {"crf": str(crf), "x265-params": "log-level=error"}
    settings = EncoderSettings(codec, YUV420P.name, width, height, 1 / RATE, RATE, Fraction(1), BT709, 0, options)
    try:
        _encode(path, pictures_u8, settings)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: cannot be written: {error.strerror}") from error


def _encode(path: Path, pictures_u8: Sequence[Tensor], settings: EncoderSettings) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = add_video_stream(container, settings)
        for count, picture in enumerate(pictures_u8):
            planes = from_rgb(picture.float() / 255, YUV420P, Colour())
            encoded = to_picture(Frame(planes, YUV420P, Colour(), count / RATE, 1 / RATE), settings)
            encoded.pts, encoded.time_base = count, settings.time_base
            container.mux(stream.encode(encoded))
        container.mux(stream.encode(None))
