"""The one way in which an operator with kernels becomes `refilm::<name>`.

An operator is defined by its reference, a function in plain torch. Kernels are used where they exist for the device and
the dtype; everywhere else the reference computes the result, and autograd its gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from refilm.ops import native

# The kernels address the pixels of a plane with 32 bits: 4 GB of up to 32 bytes a pixel.
MOST_PIXELS = 2**27 - 1


class Operator:
    """An operator on maps [N, ., H, W] that all have one dtype, with kernels in C++ and, where given, in Triton.

    reference   the definition: tensors, then numbers -> a tensor or several, of which the first has a gradient
    shapes      arguments -> the shape of each result. All are contiguous and have the dtype of the first argument.
    numbers     how many of the arguments are numbers
    dtypes      those that the kernels in C++ take
    differentiable          whether there are kernels of the backward pass; if not, the reference is differentiated, and
                            numbers need not be whole
    backward_reads_results  whether the kernels of the backward pass are given the results, too
    triton      the module with the kernels for CUDA; None if there is none
    """

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        shapes: Callable[..., Sequence[Sequence[int]]],
        *,
        numbers: int = 0,
        dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
        differentiable: bool = True,
        backward_reads_results: bool = False,
        triton: ModuleType | None = None,
    ) -> None:
        self.name, self.reference, self._shapes = name, reference, shapes
        self._numbers, self._reads_results = numbers, backward_reads_results
        self._dtypes = {"cpu": tuple(dtypes), "cuda": (torch.float32,)}
        self._differentiable = differentiable
        # why this installation has no kernel for a device; empty if it has one
        self.no_kernel = {
            "cpu": native.reason,
            "cuda": no_triton(triton) if triton else "no kernel of its own: plain torch",
        }
        schema = torch.library.infer_schema(reference, mutates_args=())
        self._op = torch.library.custom_op(f"refilm::{name}", self._by_reference, mutates_args=(), schema=schema)
        self._op.register_fake(self._empty)
        self._op.register_autograd(self._backward, setup_context=self._keep)
        self._backward_op = torch.library.custom_op(
            f"refilm::{name}_backward",
            self._no_kernel,
            mutates_args=(),
            schema="(Tensor grad, Tensor[] kept, int[] numbers, bool[] wanted) -> Tensor[]",
        )
        self._backward_op.register_fake(self._empty_gradients)
        if not self.no_kernel["cpu"]:
            self._register("cpu", self._native_forward, self._native_backward)
        if triton and not self.no_kernel["cuda"]:
            self._register("cuda", triton.forward, triton.backward)

    def __call__(self, *arguments: Any) -> Any:
        return self._op(*arguments)

    def serves(self, device: str) -> tuple[str, str]:
        """The kernel that serves "cpu" or "cuda", and an empty string; or "reference", and why no kernel does."""
        return serves(device, self.no_kernel)

    def has_kernel(self, tensors: Sequence[Tensor]) -> bool:
        """Whether a kernel takes these tensors, or the reference."""
        device, dtype = tensors[0].device.type, tensors[0].dtype
        return (
            not self.no_kernel.get(device, "no kernels for this device")
            and dtype in self._dtypes[device]
            and all(t.dtype == dtype and t.numel() > 0 and prod(t.shape[-2:]) <= MOST_PIXELS for t in tensors)
        )

    def _register(self, device: str, forward: Callable[..., Any], backward: Callable[..., list[Tensor]]) -> None:
        def run(*arguments: Any) -> Any:
            return (forward if self.has_kernel(self._tensors(arguments)) else self._by_reference)(*arguments)

        self._op.register_kernel(device)(run)
        self._backward_op.register_kernel(device)(backward)

    def _tensors(self, arguments: Sequence[Any]) -> Sequence[Any]:
        return arguments[: len(arguments) - self._numbers]

    def _by_reference(self, *arguments: Any) -> Any:
        found = self.reference(*arguments)
        return found.contiguous() if isinstance(found, Tensor) else tuple(t.contiguous() for t in found)

    def _empty(self, *arguments: Any) -> Any:
        like = arguments[0]
        made = tuple(torch.empty(s, dtype=like.dtype, device=like.device) for s in self._shapes(*arguments))
        return made if len(made) > 1 else made[0]

    def _keep(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        results = (output,) if isinstance(output, Tensor) else output
        ctx.mark_non_differentiable(*results[1:])
        ctx.save_for_backward(*self._tensors(inputs), *(results if self._reads_results else ()))
        ctx.numbers = list(inputs[len(inputs) - self._numbers :])

    def _backward(self, ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        wanted = list(self._tensors(ctx.needs_input_grad))
        inputs = ctx.saved_tensors[: len(wanted)]
        if self._differentiable and self.has_kernel(inputs):
            found = iter(self._backward_op(grad, list(ctx.saved_tensors), ctx.numbers, wanted))
        else:
            # here and not in an operator's body, where autograd records nothing
            found = iter(self._reference_gradients(grad, inputs, ctx.numbers, wanted))
        return *(next(found) if each else None for each in wanted), *(None for _ in ctx.numbers)

    def _reference_gradients(
        self, grad: Tensor, inputs: Sequence[Tensor], numbers: Sequence[float], wanted: Sequence[bool]
    ) -> Sequence[Tensor]:
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(each) for t, each in zip(inputs, wanted, strict=True)]
            result = self.reference(*leaves, *numbers)
            result = result if isinstance(result, Tensor) else result[0]
            return torch.autograd.grad(result, [t for t in leaves if t.requires_grad], grad)

    def _empty_gradients(
        self, grad: Tensor, kept: Sequence[Tensor], numbers: Sequence[int], wanted: Sequence[bool]
    ) -> list[Tensor]:
        return [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t, each in zip(kept, wanted) if each]  # noqa: B905

    def _no_kernel(self, *_: Any) -> list[Tensor]:
        raise NotImplementedError(f"{self.name} has no kernel here; its reference is differentiated instead")

    def _native_forward(self, *arguments: Any) -> Any:
        out = self._empty(*arguments)
        results = [out] if isinstance(out, Tensor) else out
        tensors = self._tensors(arguments)
        native.run(f"{self.name}_forward", [*tensors, *results], arguments[len(tensors) :])
        return out

    def _native_backward(
        self, grad: Tensor, kept: Sequence[Tensor], numbers: Sequence[int], wanted: Sequence[bool]
    ) -> list[Tensor]:
        grads = self._empty_gradients(grad, kept, numbers, wanted)
        found: Iterator[Tensor] = iter(grads)
        slots = [next(found) if each else None for each in wanted]
        native.run(f"{self.name}_backward", [grad, *kept, *slots], numbers)
        return grads


def no_triton(triton: ModuleType) -> str:
    """Why the kernels of this module cannot serve CUDA; empty if they can."""
    reason: str = triton.reason
    return reason if torch.version.cuda else "this PyTorch is built without CUDA"


def serves(device: str, no_kernel: Mapping[str, str]) -> tuple[str, str]:
    """The kernel that serves "cpu" or "cuda", and an empty string; or "reference", and why no kernel does."""
    reason = no_kernel[device]
    if device == "cuda" and not torch.cuda.is_available():
        reason = reason or "PyTorch finds no CUDA device"
    if reason:
        return "reference", reason
    return ("triton" if device == "cuda" else f"native ({native.isas[0]})"), ""
