"""Dynamic upsampling filters, the operator of VSR-DUF."""

from refilm.ops.dynamic_filter.op import dynamic_filter

__all__ = ["dynamic_filter"]
