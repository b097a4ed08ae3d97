"""Adaptive warping: backward warping with a kernel for each pixel, from MEMC-Net and DAIN."""

from refilm.ops.adaptive_warp.op import adaptive_warp

__all__ = ["adaptive_warp"]
