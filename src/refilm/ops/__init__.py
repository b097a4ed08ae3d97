"""Operators: functions on tensors with a reference in plain torch and, where it pays, a kernel for a device."""

from refilm.ops.ls3d_conv import ls3d_conv

__all__ = ["ls3d_conv"]
