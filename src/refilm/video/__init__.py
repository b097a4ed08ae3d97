"""Video in and out: everything that touches PyAV."""

from refilm.video.frame import Colour, Frame, PixelFormat
from refilm.video.probe import StreamInfo, VideoInfo, probe
from refilm.video.reader import Bookmark, ReadLosses, VideoReader, digest, frames

__all__ = [
    "Bookmark",
    "Colour",
    "Frame",
    "PixelFormat",
    "ReadLosses",
    "StreamInfo",
    "VideoInfo",
    "VideoReader",
    "digest",
    "frames",
    "probe",
]
