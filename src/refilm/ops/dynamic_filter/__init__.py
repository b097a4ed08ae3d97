"""Dynamic filters: upsampling by filters that differ from pixel to pixel."""

from refilm.ops.dynamic_filter.op import dynamic_filter

__all__ = ["dynamic_filter"]
