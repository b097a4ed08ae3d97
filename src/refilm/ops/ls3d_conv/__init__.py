"""Learnable sampling 3D convolution: each tap samples where it is told to."""

from refilm.ops.ls3d_conv.op import ls3d_conv

__all__ = ["ls3d_conv"]
