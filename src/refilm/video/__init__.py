"""Video in and out: everything that touches PyAV, which no other package imports."""

from refilm.video.bookmark import Bookmark, digest
from refilm.video.colour import Colour
from refilm.video.frame import Frame
from refilm.video.part import Part
from refilm.video.pixel_format import PixelFormat
from refilm.video.read_losses import ReadLosses
from refilm.video.reader import VideoReader, frames, probe
from refilm.video.video_info import StreamInfo, VideoInfo

__all__ = [
    "Bookmark",
    "Colour",
    "Frame",
    "Part",
    "PixelFormat",
    "ReadLosses",
    "StreamInfo",
    "VideoInfo",
    "VideoReader",
    "digest",
    "frames",
    "probe",
]
