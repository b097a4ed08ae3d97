"""Calls the CPU kernels of LS3D-Conv (cpu.cpp): converts layouts and dtypes, and allocates the outputs."""

import torch
from torch import Tensor

from refilm.ops import native
from refilm.ops.layout import clip_format
from refilm.ops.ls3d_conv import reference
from refilm.ops.ls3d_conv.reference import Geometry

# The kernels address the values of a frame with 32-bit integers.
MOST_VALUES_IN_A_FRAME = 2**31 - 1


def why_reference(x: Tensor) -> str:
    """Why the reference serves this input; empty if the kernels do."""
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"no kernel for {x.dtype}"
    if x.shape[1] * x.shape[3] * x.shape[4] > MOST_VALUES_IN_A_FRAME:
        return "a frame has 2^31 values or more"
    return "" if x.numel() else "x is empty"


def forward(
    x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    if why_reference(x):
        out = reference.ls3d_conv(x, weight, offset, importance, bias, geometry)
        return out.contiguous(memory_format=clip_format(x))
    as_bf16 = x.dtype == torch.bfloat16 and native.has_bf16()
    dtype = torch.bfloat16 if as_bf16 else torch.float32
    shape = (x.shape[0], weight.shape[0], *offset.shape[2:])
    out = torch.empty(shape, dtype=dtype, memory_format=clip_format(x))
    assert native.module is not None
    native.module.ls3d_forward(
        native.isas[0],
        as_bf16,
        _rows(x, dtype),
        _flat(weight, dtype),
        offset.detach().float(),
        importance.detach().float(),
        None if bias is None else _flat(bias, torch.float32),
        out,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.groups,
        torch.get_num_threads(),
    )
    return out.to(x.dtype)


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = (x, weight, offset, importance)
    if why_reference(x):
        grads = reference.ls3d_conv_backward(grad, x, weight, offset, importance, geometry)
    else:
        rows = _rows(x, torch.float32)
        rows_grad = torch.empty_like(rows)
        weight_grad = torch.empty(weight.shape)
        offset_grad, importance_grad = (torch.empty(t.shape, memory_format=clip_format(t)) for t in inputs[2:])
        assert native.module is not None
        native.module.ls3d_backward(
            native.isas[0],
            _rows(grad, torch.float32),
            rows,
            _flat(weight, torch.float32),
            offset.detach().float(),
            importance.detach().float(),
            rows_grad,
            weight_grad,
            offset_grad,
            importance_grad,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            geometry.groups,
            torch.get_num_threads(),
        )
        grads = rows_grad.permute(0, 4, 1, 2, 3), weight_grad, offset_grad, importance_grad
    gx, gw, go, gm = (
        g.to(t.dtype).contiguous(memory_format=clip_format(t)) for g, t in zip(grads, inputs, strict=True)
    )
    return gx, gw, go, gm


def _rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """[N, C, T, H, W] as contiguous [N, T, H, W, C]; no copy if x is channels last and has that dtype."""
    return x.detach().to(dtype).permute(0, 2, 3, 4, 1).contiguous()


def _flat(t: Tensor, dtype: torch.dtype) -> Tensor:
    return t.detach().to(dtype).contiguous()
