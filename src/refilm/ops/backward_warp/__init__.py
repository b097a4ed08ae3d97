"""Backward warping: what a flow points at."""

from refilm.ops.backward_warp.op import backward_warp

__all__ = ["backward_warp"]
