"""The compiled CPU kernels, or the reason why this installation cannot load them."""

import importlib
from collections.abc import Sequence
from types import ModuleType

import torch  # imported first, so that the kernels use the OpenMP library that torch has loaded

module: ModuleType | None
reason: str  # why `module` is None; empty if the kernels are loaded

try:
    module, reason = importlib.import_module("refilm._native"), ""
except ImportError as error:
    module, reason = None, f"the compiled kernels cannot be loaded: {error}"

available = module is not None
# The instruction sets that have kernels and that this processor supports, the fastest first. The first one is used.
isas: list[str] = module.isas() if module else []


def has_bf16() -> bool:
    """Whether the kernels multiply bfloat16 directly; otherwise bfloat16 is converted to float32.

    Where a CPU has AMX, its vector instruction for bfloat16 is slower than float32: docs/choices.md#bfloat16.
    """
    return module is not None and bool(module.has_bf16(isas[0])) and not has_amx()


def has_amx() -> bool:
    """Whether the CPU multiplies matrices of bfloat16 by instructions of their own, which oneDNN uses."""
    return bool(torch.cpu._is_amx_tile_supported())


def fast_bfloat16() -> str:
    """The instructions of this CPU by which networks are faster in bfloat16 than in float32; "" if there are none."""
    if has_amx():
        return "AMX"
    return "AVX-512 BF16" if torch.cpu._is_avx512_bf16_supported() else ""


def run(name: str, tensors: Sequence[torch.Tensor | None], numbers: Sequence[float]) -> None:
    """Call a kernel: with inputs, the outputs that it fills (None: not wanted), and numbers.

    All tensors have one dtype, float32 or float64; the outputs are contiguous.
    """
    assert module is not None
    arrays = [None if t is None else t.detach().contiguous() for t in tensors]
    module.run(isas[0], name, arrays, list(numbers), torch.get_num_threads())
