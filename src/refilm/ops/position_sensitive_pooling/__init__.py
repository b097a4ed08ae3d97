"""Position-sensitive pooling of regions, the heart of R-FCN."""

from refilm.ops.position_sensitive_pooling.op import position_sensitive_pooling

__all__ = ["position_sensitive_pooling"]
