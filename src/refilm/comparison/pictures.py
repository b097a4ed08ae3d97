"""The pictures of `refilm compare`: curves of PSNR and SSIM over time, and frames of both videos side by side."""

from __future__ import annotations

import math
from array import array
from pathlib import Path

import cv2
import numpy as np

from refilm.errors import JobError
from refilm.video import Colour, Frame
from refilm.video.pixel_format import held_format

_GRAY, _INK, _RED = (210, 210, 210), (60, 60, 60), (40, 40, 220)  # in the order blue, green, red
_WIDTH, _HEIGHT, _MARGIN = 1200, 260, 60  # of a panel with a curve, in pixels
_MOMENTS = 6  # most evenly spaced frames on the strip
_THUMBNAIL = 480  # largest width of a frame on the strip, in pixels
_LINE = 22  # height of a line of text, in pixels
AMPLIFIED = 8  # factor on differences on the strip


class Curve:
    """Collects PSNR and SSIM of frames, and draws them over time."""

    def __init__(self) -> None:
        self._times, self._psnrs, self._ssims = array("d"), array("d"), array("d")

    def add(self, time: float, psnr: float, ssim: float) -> None:
        self._times.append(time)
        self._psnrs.append(psnr)
        self._ssims.append(ssim)

    def worst(self) -> tuple[float, float, float]:
        """Time, PSNR and SSIM of the frame with the lowest PSNR."""
        place = int(np.argmin(self._psnrs))
        return self._times[place], self._psnrs[place], self._ssims[place]

    def write(self, path: Path) -> None:
        times = np.array(self._times)
        panels = [
            _panel("PSNR of all planes, dB (gaps: identical frames)", times, np.array(self._psnrs)),
            _panel("SSIM of all planes", times, np.array(self._ssims)),
        ]
        _save(path, np.concatenate(panels))


def _panel(title: str, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A curve of values over time, without those that are not finite. -> uint8 [H, W, 3], blue first"""
    picture = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    _text(picture, title, (_MARGIN, 18))
    known = np.isfinite(values)
    if not known.any():
        return picture
    low, high = float(values[known].min()), float(values[known].max())
    high = max(high, low + 1e-3)
    begin, end = float(times[0]), max(float(times[-1]), float(times[0]) + 1e-3)
    top, bottom, right = 32, _HEIGHT - 30, _WIDTH - 20

    def place(time: float, value: float) -> tuple[int, int]:
        across = (time - begin) / (end - begin) * (right - _MARGIN)
        return round(_MARGIN + across), round(bottom - (value - low) / (high - low) * (bottom - top))

    for step in range(5):
        value, time = low + (high - low) * step / 4, begin + (end - begin) * step / 4
        y, x = place(begin, value)[1], place(time, low)[0]
        cv2.line(picture, (_MARGIN, y), (right, y), _GRAY)
        _text(picture, f"{value:.4g}", (4, y + 4))
        _text(picture, f"{time:.2f} s", (min(x, right - 50), _HEIGHT - 10))
    previous = None
    for time, value in zip(times, values, strict=True):
        here = place(time, value) if math.isfinite(value) else None
        if here is not None:
            cv2.line(picture, previous or here, here, _RED, 1, cv2.LINE_AA)
        previous = here
    return picture


class Strip:
    """A picture with rows of a frame of a, the same frame of b and their difference, at several times.

    The times are evenly spaced, up to _MOMENTS of them, and that of the worst frame. Only these pictures are in memory.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[int, str, np.ndarray]] = []  # number of the frame, caption, picture
        self._count, self._every = 0, 1
        self._worst: tuple[float, int, str, Frame, Frame] | None = None

    def add(self, a: Frame, b: Frame, psnr: float, ssim: float) -> None:
        words = f"{float(a.time):.3f} s   PSNR {psnr:.2f} dB   SSIM {ssim:.4f}"
        if self._worst is None or psnr < self._worst[0]:
            self._worst = (psnr, self._count, words, a, b)
        if self._count % self._every == 0:
            if len(self._rows) == _MOMENTS:
                # every second row is removed, so that the remaining ones are evenly spaced
                self._rows, self._every = self._rows[::2], 2 * self._every
            if self._count % self._every == 0:
                self._rows.append((self._count, words, _row(a, b)))
        self._count += 1

    def write(self, path: Path, names: tuple[str, str]) -> None:
        assert self._worst is not None, "a strip is written when frames were compared"
        _, number, words, a, b = self._worst
        rows = [row for row in self._rows if row[0] != number]
        rows = sorted([*rows, (number, f"{words}   (worst)", _row(a, b))], key=lambda row: row[0])
        width = rows[0][2].shape[1]
        lines = [_line(width, f"a: {names[0]}   b: {names[1]}   |a - b| x {AMPLIFIED}")]
        for _, words, row in rows:
            lines += [_line(width, words), row]
        _save(path, np.concatenate(lines))


def _row(a: Frame, b: Frame) -> np.ndarray:
    """Both frames and their difference, reduced. -> uint8 [h, 3w, 3], blue first"""
    left, right = _shown(a), _shown(b)
    difference = cv2.convertScaleAbs(cv2.absdiff(left, right), alpha=AMPLIFIED)
    scale = min(1.0, _THUMBNAIL / left.shape[1])
    size = (max(1, round(left.shape[1] * scale)), max(1, round(left.shape[0] * scale)))
    return np.concatenate([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (left, right, difference)], 1)


def _shown(frame: Frame) -> np.ndarray:
    """The frame as uint8 [H, W, 3], blue first, as OpenCV expects it."""
    green, blue, red = frame.converted(held_format("gbrp"), Colour(matrix="rgb", range="pc")).planes
    return np.stack([blue, green, red], axis=-1)


def _line(width: int, words: str) -> np.ndarray:
    picture = np.full((_LINE, width, 3), 255, np.uint8)
    _text(picture, words, (4, 15))
    return picture


def _text(picture: np.ndarray, words: str, place: tuple[int, int]) -> None:
    cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)


def _save(path: Path, picture: np.ndarray) -> None:
    if not cv2.imwrite(str(path), picture):
        raise JobError(f"{path}: cannot be written")
