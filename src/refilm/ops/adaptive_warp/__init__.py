"""Adaptive warping: backward warping with a kernel of its own for each pixel."""

from refilm.ops.adaptive_warp.op import adaptive_warp

__all__ = ["adaptive_warp"]
