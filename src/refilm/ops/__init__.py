"""Operators: functions on tensors, each defined by a reference in plain torch; some have faster kernels."""

from refilm.ops.adaptive_warp import adaptive_warp
from refilm.ops.backward_warp import backward_warp
from refilm.ops.correlation import correlation
from refilm.ops.dynamic_filter import dynamic_filter
from refilm.ops.flow_projection import flow_projection
from refilm.ops.kernels import Kernel, kernels
from refilm.ops.ls3d_conv import ls3d_conv
from refilm.ops.motion_blend import motion_blend
from refilm.ops.off import off
from refilm.ops.position_sensitive_pooling import position_sensitive_pooling

__all__ = [
    "Kernel",
    "adaptive_warp",
    "backward_warp",
    "correlation",
    "dynamic_filter",
    "flow_projection",
    "kernels",
    "ls3d_conv",
    "motion_blend",
    "off",
    "position_sensitive_pooling",
]
