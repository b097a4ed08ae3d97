"""Short generated clips: a texture that pans."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np


def pictures(count: int, height: int, width: int, speed: int) -> Iterator[np.ndarray]:
    """[H, W, 3] uint8 each: smooth noise, `speed` pixels further to the left in each frame."""
    coarse = np.random.default_rng(0).uniform(40, 215, (height // 8 + 2, (width + count * speed) // 8 + 2, 3))
    rows, columns = np.arange(height) / 8, np.arange(width + count * speed) / 8
    y, x = rows.astype(int), columns.astype(int)
    fy, fx = (rows - y)[:, None, None], (columns - x)[None, :, None]
    upper = coarse[y][:, x] * (1 - fx) + coarse[y][:, x + 1] * fx
    lower = coarse[y + 1][:, x] * (1 - fx) + coarse[y + 1][:, x + 1] * fx
    scene = (upper * (1 - fy) + lower * fy).round().astype(np.uint8)
    for i in range(count):
        yield np.ascontiguousarray(scene[:, i * speed : i * speed + width])


def write_clip(path: Path, count: int = 9, height: int = 64, width: int = 96, speed: int = 2) -> None:
    """A lossless 4:2:0 file of that clip, 25 frames a second, tagged BT.709 limited."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for picture in pictures(count, height, width, speed):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
