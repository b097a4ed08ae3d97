"""Correlation, the cost volume of PWC-Net."""

from refilm.ops.correlation.op import correlation

__all__ = ["correlation"]
