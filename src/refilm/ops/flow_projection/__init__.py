"""Flow projection: from the flow at a frame to the flow at a time between frames."""

from refilm.ops.flow_projection.op import flow_projection

__all__ = ["flow_projection"]
