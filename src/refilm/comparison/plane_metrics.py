"""PSNR and SSIM of the planes of two frames, as FFmpeg's filters `psnr` and `ssim` define them.

This SSIM is not the one of papers: FFmpeg, like x264, has unweighted windows of 8x8 samples at every fourth sample,
while Wang et al. have Gaussian windows at every sample. `refilm eval` computes theirs (`evaluation/metrics.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

SMALLEST_SIDE = 8  # of a plane, in samples: the window of SSIM must fit


def squared_error(a: np.ndarray, b: np.ndarray) -> float:
    """The mean squared difference of two planes [H, W], in squared codes."""
    return float(cv2.norm(a, b, cv2.NORM_L2SQR)) / a.size


def psnr(mean_squared_error: float, top: int) -> float:
    """PSNR in dB, from a mean squared error in squared codes and the highest code `top`; infinite for no error."""
    return 10 * math.log10(top * top / mean_squared_error) if mean_squared_error else math.inf


def ssim(a: np.ndarray, b: np.ndarray, top: int) -> float:
    """SSIM of two planes [H, W] with codes from 0 to `top`; NaN if a side is shorter than SMALLEST_SIDE."""
    if min(a.shape) < SMALLEST_SIDE:
        return math.nan
    height, width = a.shape[0] // 4, a.shape[1] // 4
    # for 8-bit codes, single precision is exact: for the codes, their products, and sums of 16 products
    kind = np.float32 if top == 255 else np.float64
    x: np.ndarray = a[: 4 * height, : 4 * width].astype(kind)
    y: np.ndarray = b[: 4 * height, : 4 * width].astype(kind)

    def windows(values: np.ndarray) -> np.ndarray:
        """Sums over windows of 8x8 at every fourth sample. [4h, 4w] -> [h - 1, w - 1]"""
        blocks = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA).astype(np.float64) * 16
        rows = blocks[:-1] + blocks[1:]
        sums: np.ndarray = rows[:, :-1] + rows[:, 1:]
        return sums

    sum_x, sum_y, squares, products = windows(x), windows(y), windows(x * x + y * y), windows(x * y)
    c1, c2 = (math.floor((k * top) ** 2 * 64 * n + 0.5) for k, n in ((0.01, 1), (0.03, 63)))
    means, energy = sum_x * sum_y, sum_x * sum_x + sum_y * sum_y
    likeness = (2 * means + c1) * (2 * (products * 64 - means) + c2)
    return float((likeness / ((energy + c1) * (squares * 64 - energy + c2))).mean())


def shares(planes: Sequence[np.ndarray]) -> np.ndarray:
    """Each plane's share of all samples, its weight in FFmpeg's "average" PSNR and "All" SSIM."""
    sizes = np.array([plane.size for plane in planes])
    return sizes / sizes.sum()
