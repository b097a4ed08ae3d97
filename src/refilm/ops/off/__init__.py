"""OFF: the gradients and the difference of the features of two frames."""

from refilm.ops.off.op import off

__all__ = ["off"]
