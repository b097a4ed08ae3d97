"""Video in and out: everything that touches PyAV."""

from refilm.video.decoder import Bookmark, ReadLosses, digest
from refilm.video.frame import Colour, Frame, PixelFormat
from refilm.video.probe import StreamInfo, VideoInfo
from refilm.video.reader import VideoReader, frames, probe

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
