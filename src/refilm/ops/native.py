"""The compiled CPU kernels, if this installation has them; why not, if it does not."""

import importlib
from types import ModuleType

import torch  # noqa: F401  first, so that the kernels share the OpenMP library that torch brings

module: ModuleType | None
reason: str  # why `module` is None; empty if it is not

try:
    module, reason = importlib.import_module("refilm._native"), ""
except ImportError as error:
    module, reason = None, f"the compiled kernels cannot be loaded: {error}"

available = module is not None
# The instruction sets with kernels that this processor has, the best first; the first one serves.
isas: list[str] = module.isas() if module else []


def has_bf16() -> bool:
    """Whether the kernels multiply bfloat16 as it is; otherwise they go through float32."""
    return module is not None and bool(module.has_bf16(isas[0]))
