"""Blending two frames along the motion between them, the heart of flow-blend."""

from refilm.ops.motion_blend.op import motion_blend

__all__ = ["motion_blend"]
