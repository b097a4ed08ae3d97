"""Which kernel serves each operator on each device: the record behind `refilm doctor`."""

from dataclasses import dataclass

from refilm import ops
from refilm.ops.adaptive_warp import op as adaptive_warp
from refilm.ops.backward_warp import op as backward_warp
from refilm.ops.correlation import op as correlation
from refilm.ops.dynamic_filter import op as dynamic_filter
from refilm.ops.flow_projection import op as flow_projection
from refilm.ops.ls3d_conv import op as ls3d_conv
from refilm.ops.motion_blend import op as motion_blend
from refilm.ops.position_sensitive_pooling import op as position_sensitive_pooling

OPERATORS = [
    module.OPERATOR
    for module in (
        adaptive_warp,
        backward_warp,
        correlation,
        dynamic_filter,
        flow_projection,
        motion_blend,
        position_sensitive_pooling,
    )
]
# For each operator with kernels, the function that says what serves a device; the other operators have none.
WITH_KERNELS = {"ls3d_conv": ls3d_conv.serves, **{each.name: each.serves for each in OPERATORS}}


@dataclass(frozen=True)
class Kernel:
    """Which code runs an operator on a device."""

    op: str
    device: str  # "cpu" or "cuda"
    serves: str  # "native (avx512)", "triton", or "reference"
    reason: str  # why the reference serves; empty if a kernel does


def kernels() -> list[Kernel]:
    """One record for every operator and device, in the order of their names."""
    operators = sorted(name for name in ops.__all__ if name not in ("Kernel", "kernels"))
    return [Kernel(name, device, *_serves(name, device)) for name in operators for device in ("cpu", "cuda")]


def _serves(name: str, device: str) -> tuple[str, str]:
    if name not in WITH_KERNELS:
        return "reference", "no kernel of its own: plain torch"
    return WITH_KERNELS[name](device)
