"""Learnable sampling 3D convolution (LS3D-Conv): each tap has an offset and an importance at every position."""

from refilm.ops.ls3d_conv.op import ls3d_conv

__all__ = ["ls3d_conv"]
