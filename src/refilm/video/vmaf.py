"""VMAF by FFmpeg's filter libvmaf, in a program of its own, since PyAV's FFmpeg is built without it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from refilm.errors import UsageError, VideoError
from refilm.video.colour import Colour
from refilm.video.frame import Frame
from refilm.video.pixel_format import PixelFormat

_DEPTHS = {8: "", 10: "10le", 12: "12le", 16: "16le"}  # that libvmaf takes, with the ends of the formats' names


class Vmaf:
    """Measures how much a video is like another to viewers, from 0 to 100, by Netflix' model vmaf_v0.6.1.

    Frames are given in pairs, in their order. VMAF sees luma alone, in limited range; RGB is converted by BT.709. To be
    used as a context manager. Raises UsageError if there is no FFmpeg with libvmaf.
    """

    def __init__(self) -> None:
        self._program = program()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder, self._shape = Path(tempfile.mkdtemp(prefix="refilm-vmaf-")), (0, 0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, result: Frame, truth: Frame) -> None:
        """Add a frame and the one that it should be like, of one size. Raises VideoError where FFmpeg fails."""
        lumas = [_luma(frame) for frame in (result, truth)]
        if self._process is None:
            bits = next(depth for depth in _DEPTHS if depth >= max(result.format.bits, truth.format.bits))
            height, width = lumas[0].shape
            self._begin(height, width, bits)
        height, width, bits = self._shape
        # one above the other in one picture, so that one pipe does; chroma is not looked at
        odd = ((0, height % 2), (0, 0))
        kind = np.dtype(np.uint8 if bits == 8 else "<u2")
        rows = [
            np.pad(np.left_shift(luma.astype(kind), bits - frame.format.bits), odd, "edge")
            for luma, frame in zip(lumas, (result, truth), strict=True)
        ]
        chroma = np.full((height + height % 2) * ((width + 1) // 2) * 2, 1 << (bits - 1), kind)
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"".join(part.tobytes() for part in (*rows, chroma)))
        except BrokenPipeError:
            self._process.wait()
            raise VideoError(f"VMAF cannot be measured: {self._said()}") from None

    def scores(self) -> list[float]:
        """VMAF of each pair. Raises VideoError where FFmpeg fails."""
        if self._process is None:
            return []
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait():
            raise VideoError(f"VMAF cannot be measured: {self._said()}")
        found = json.loads((self._folder / "vmaf.json").read_text())
        return [frame["metrics"]["vmaf"] for frame in found["frames"]]

    def _begin(self, height: int, width: int, bits: int) -> None:
        self._shape = height, width, bits
        below = height + height % 2
        crop = f"crop={width}:{height}:0"
        graph = f"split[x][y];[x]{crop}:0:exact=1[a];[y]{crop}:{below}:exact=1[b];[a][b]"
        graph += "libvmaf=log_fmt=json:log_path=vmaf.json"
        quiet = ["-hide_banner", "-loglevel", "error"]
        layout = ["-f", "rawvideo", "-pixel_format", f"yuv420p{_DEPTHS[bits]}", "-video_size", f"{width}x{2 * below}"]
        self._process = subprocess.Popen(
            [self._program, *quiet, *layout, "-i", "-", "-lavfi", graph, "-f", "null", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "said").open("wb"),
            cwd=self._folder,
        )

    def _said(self) -> str:
        return (self._folder / "said").read_text(errors="replace").strip() or "ffmpeg has ended without a word"


def _luma(frame: Frame) -> np.ndarray:
    """The luma plane in limited range. -> [H, W], in codes"""
    if frame.format.kind != "rgb" and frame.colour.range == "tv":
        return frame.planes[0]
    bits = frame.format.bits
    matrix = "bt709" if frame.format.kind == "rgb" else frame.colour.matrix
    layout = PixelFormat(f"yuv444p{'' if bits == 8 else f'{bits}le'}", "yuv", bits)
    return frame.converted(layout, Colour(matrix=matrix, range="tv")).planes[0]


@cache
def program() -> str:
    """The path of an FFmpeg with libvmaf: the command, or that of the package imageio-ffmpeg.

    Raises UsageError, with what to install, if there is none.
    """
    for path in (shutil.which("ffmpeg"), _of_package()):
        if path is not None:
            done = subprocess.run([path, "-hide_banner", "-filters"], capture_output=True, text=True, check=False)
            if " libvmaf " in done.stdout:
                return path
    raise UsageError(
        "VMAF needs an FFmpeg that is built with libvmaf, and neither PyAV's nor the command ffmpeg of this machine "
        "is; pip install imageio-ffmpeg brings one"
    )


def _of_package() -> str | None:
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return None
    from imageio_ffmpeg import get_ffmpeg_exe

    try:
        return str(get_ffmpeg_exe())
    except RuntimeError:  # it has none for this machine
        return None
