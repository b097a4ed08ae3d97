"""Backward warping: bilinear sampling at the positions that a flow points to."""

from refilm.ops.backward_warp.op import backward_warp

__all__ = ["backward_warp"]
