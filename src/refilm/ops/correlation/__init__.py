"""Correlation: how well each pixel matches those around it in the other frame."""

from refilm.ops.correlation.op import correlation

__all__ = ["correlation"]
