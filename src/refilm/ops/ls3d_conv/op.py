"""The operator `refilm::ls3d_conv`. It is defined by reference.py; README.md explains how the CPU kernels work."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refilm.ops import native, registration
from refilm.ops.layout import clip_format
from refilm.ops.ls3d_conv import cpu, reference, triton_kernel
from refilm.ops.ls3d_conv.reference import Geometry, Triple
from refilm.ops.registration import no_triton


def ls3d_conv(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    importance: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """A 3D convolution that moves each of its K = kT*kH*kW taps by an offset and scales it by an importance.

    out[n, o, t, p] = bias[o] + sum over k of importance[n, k, t, p] * <weight[o, :, k], sampled[n, :, k, t, p]>
    sampled[n, :, k, t, p] = x[n, :, t + k_t, p + k_yx + offset[n, k, t, p]], bilinear in space

    for output frame t and pixel p, where (k_t, k_yx) is the position of tap k in the kernel. This is for stride 1,
    padding 0, dilation 1 and one group; other values act as in a convolution.

    x           [N, C, T, H, W]
    weight      [O, C/groups, kT, kH, kW]
    offset      [N, 2K, T', H', W']   (dy, dx) for each tap, in pixels of x; taps in the order of the flattened kernel
    importance  [N, K, T', H', W']    usually in [0, 1]
    bias        [O]
    out         [N, O, T', H', W'], with the dtype and memory format (contiguous or channels last) of x

    stride, padding, dilation: one number, or (time, height, width). Pixels outside x are zero. `offset` and
    `importance` may have any strides and any float dtype; weight and bias have the dtype of x; under autocast, these
    three are cast.
    Source: LS3D-Conv, (1)-(3). Raises ValueError when the shapes do not fit each other.
    """
    stride, padding, dilation = triple("stride", stride), triple("padding", padding), triple("dilation", dilation)
    _check(x, weight, offset, importance, bias, stride, padding, dilation, groups)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    if weight.dtype != x.dtype:
        raise ValueError(
            f"weight must have the type of x, {x.dtype}, got {weight.dtype}; did you mean weight.to(x.dtype)?"
        )
    out: Tensor = torch.ops.refilm.ls3d_conv(x, weight, offset, importance, bias, stride, padding, dilation, groups)
    return out


def triple(name: str, value: int | Sequence[int]) -> Triple:
    """`value` as (time, height, width)."""
    if isinstance(value, int):
        return value, value, value
    if len(value) != 3:
        raise ValueError(f"{name} must be one number or (time, height, width), got {list(value)}")
    return value[0], value[1], value[2]


def _check(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    importance: Tensor,
    bias: Tensor | None,
    stride: Triple,
    padding: Triple,
    dilation: Triple,
    groups: int,
) -> None:
    if x.dim() != 5:
        raise ValueError(f"x must be [N, C, T, H, W], got {list(x.shape)}")
    if weight.dim() != 5:
        raise ValueError(f"weight must be [O, C/groups, kT, kH, kW], got {list(weight.shape)}")
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0 or groups < 1:
        raise ValueError(
            f"stride, dilation and groups must be at least 1 and padding at least 0, got stride {stride}, "
            f"dilation {dilation}, groups {groups}, padding {padding}"
        )
    if weight.shape[1] * groups != x.shape[1] or weight.shape[0] % groups:
        raise ValueError(
            f"weight [O, C/groups, ...] = {list(weight.shape)} does not fit {x.shape[1]} channels in {groups} groups"
        )
    kernel: Triple = tuple(weight.shape[2:])  # type: ignore[assignment]
    taps = kernel[0] * kernel[1] * kernel[2]
    size = reference.output_size(tuple(x.shape[2:]), kernel, stride, padding, dilation)  # type: ignore[arg-type]
    if min(size) < 1:
        raise ValueError(
            f"x of (T, H, W) = {tuple(x.shape[2:])} is smaller than the kernel {kernel} with padding {padding}"
        )
    for name, tensor, planes in (("offset", offset, 2 * taps), ("importance", importance, taps)):
        expected = (x.shape[0], planes, *size)
        if tuple(tensor.shape) != expected:
            names = f"[N, {planes // taps}K, T', H', W']".replace("1K", "K")
            raise ValueError(f"{name} must be {names} = {list(expected)}, got {list(tensor.shape)}")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(f"bias must be [O] = [{weight.shape[0]}], got {list(bias.shape)}")


@torch.library.custom_op("refilm::ls3d_conv", mutates_args=())
def _op(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    importance: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    geometry = _geometry(stride, padding, dilation, groups)
    out = reference.ls3d_conv(x, weight, offset, importance, bias, geometry)
    return out.contiguous(memory_format=clip_format(x))


@_op.register_fake
def _(x: Tensor, weight: Tensor, offset: Tensor, *_: Any) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *offset.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=clip_format(x))


@torch.library.custom_op("refilm::ls3d_conv_backward", mutates_args=())
def _backward_op(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    importance: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, offset and importance, each in the memory format of its tensor."""
    geometry = _geometry(stride, padding, dilation, groups)
    grads = reference.ls3d_conv_backward(grad, x, weight, offset, importance, geometry)
    gx, gw, go, gm = (
        g.contiguous(memory_format=clip_format(t)) for g, t in zip(grads, (x, weight, offset, importance), strict=True)
    )
    return gx, gw, go, gm


@_backward_op.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(_empty_gradient(t) for t in (x, weight, offset, importance))


def _empty_gradient(t: Tensor) -> Tensor:
    return torch.empty(t.shape, dtype=t.dtype, device=t.device, memory_format=clip_format(t))


def _geometry(stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> Geometry:
    return Geometry(triple("stride", stride), triple("padding", padding), triple("dilation", dilation), groups)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.has_bias, ctx.geometry = inputs[4] is not None, inputs[5:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grads = torch.ops.refilm.ls3d_conv_backward(grad, *ctx.saved_tensors, *ctx.geometry)
    bias_grad = grad.sum((0, 2, 3, 4)) if ctx.has_bias else None
    return *grads, bias_grad, None, None, None, None


_op.register_autograd(_backward, setup_context=_setup_context)


def _register(device: str, kernels: Any) -> None:
    """Register the functions `forward` and `backward` of a module as the kernels for a device.

    They call the reference where they do not apply, as for float64.
    """

    @_op.register_kernel(device)
    def _(
        x: Tensor,
        weight: Tensor,
        offset: Tensor,
        importance: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Tensor:
        out: Tensor = kernels.forward(x, weight, offset, importance, bias, _geometry(stride, padding, dilation, groups))
        return out

    @_backward_op.register_kernel(device)
    def _(
        grad: Tensor,
        x: Tensor,
        weight: Tensor,
        offset: Tensor,
        importance: Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        grads: tuple[Tensor, Tensor, Tensor, Tensor] = kernels.backward(
            grad, x, weight, offset, importance, _geometry(stride, padding, dilation, groups)
        )
        return grads


# Why this installation has no kernel for a device; empty if it has one.
NO_KERNEL = {"cpu": native.reason, "cuda": no_triton(triton_kernel)}
if not NO_KERNEL["cpu"]:
    _register("cpu", cpu)
if not NO_KERNEL["cuda"]:
    _register("cuda", triton_kernel)


def serves(device: str) -> tuple[str, str]:
    """The kernel that serves "cpu" or "cuda", and an empty string; or "reference", and why no kernel does."""
    return registration.serves(device, NO_KERNEL)
