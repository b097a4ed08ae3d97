"""Flow projection, the operator of MEMC-Net (plain mean) and DAIN (weighted by inverse depth)."""

from refilm.ops.flow_projection.op import flow_projection

__all__ = ["flow_projection"]
