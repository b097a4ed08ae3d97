"""What serves each operator on each device: the record behind `refilm doctor`."""

from dataclasses import dataclass

import torch

from refilm.ops import native
from refilm.ops.ls3d_conv import triton_kernel

PLAIN_TORCH = {
    "adaptive_warp": "plain torch: one gather a tap",
    "backward_warp": "plain torch: F.grid_sample has kernels of its own",
    "correlation": "plain torch: one product a shift",
    "dynamic_filter": "plain torch: unfold and one product",
    "flow_projection": "plain torch: index_put, whose sums do not depend on threads",
    "off": "plain torch: slices and sums",
}


@dataclass(frozen=True)
class Kernel:
    """Which code runs an operator on a device."""

    op: str
    device: str  # "cpu" or "cuda"
    serves: str  # "native (avx512)", "triton", or "reference"
    reason: str  # why the reference serves; empty if a kernel does


def kernels() -> list[Kernel]:
    """One record for every operator and device, in the order of their names."""
    found = [Kernel(op, device, "reference", why) for op, why in PLAIN_TORCH.items() for device in ("cpu", "cuda")]
    if native.available:
        found.append(Kernel("ls3d_conv", "cpu", f"native ({native.isas[0]})", ""))
    else:
        found.append(Kernel("ls3d_conv", "cpu", "reference", native.reason))
    if not torch.cuda.is_available():
        found.append(Kernel("ls3d_conv", "cuda", "reference", "no CUDA device"))
    elif not triton_kernel.available:
        found.append(Kernel("ls3d_conv", "cuda", "reference", triton_kernel.reason))
    else:
        found.append(Kernel("ls3d_conv", "cuda", "triton", ""))
    return sorted(found, key=lambda k: (k.op, k.device))
