"""3D convolution that uses oneDNN for shapes that PyTorch computes with a slow kernel of its own.

In float32 on a CPU, PyTorch 2.13 uses its own loops instead of oneDNN for an ungrouped convolution of a single clip if
C * T * H <= 20480 and the kernel is at most 3 pixels high or wide, whatever W is. They are about five times slower, in
the forward and the backward pass, and the layers of the interpolation models have such shapes. `conv3d` calls oneDNN
directly for these convolutions and `F.conv3d` for all others. With a stride above 1, the backward pass remains
PyTorch's. Measurements: docs/choices.md#conv3d-onednn.

In bfloat16, kernels that are one frame long are computed as 2D convolutions of the frames. Where a CPU has AMX, the
gradient of a 3D kernel by oneDNN holds NaN for some numbers of channels (128, 400), and takes up to four times as long.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.ops.layout import clip_format

# C * T * H up to which PyTorch avoids oneDNN (use_mkldnn in aten/src/ATen/native/Convolution.cpp).
SLOW_BELOW = 20480
LAST = torch.channels_last_3d
HAS_ONEDNN = torch.backends.mkldnn.is_available()


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    groups: int = 1,
) -> Tensor:
    """As `F.conv3d`: [N, C, T, H, W] -> [N, O, T', H', W'], same arguments and gradients; channels last if x is."""
    if _is_framewise_bfloat16(x, weight, stride, padding):
        frames = x.transpose(1, 2).flatten(0, 1)
        flat = F.conv2d(
            frames, weight[:, :, 0], bias, tuple(stride[1:]), tuple(padding[1:]), tuple(dilation[1:]), groups
        )
        return flat.unflatten(0, (len(x), -1)).transpose(1, 2)
    if not takes_slow_path(x, weight, groups):
        return F.conv3d(x, weight, bias, tuple(stride), tuple(padding), tuple(dilation), groups)
    out: Tensor = torch.ops.refilm.onednn_conv3d(x, weight, bias, stride, padding, dilation)
    return out


def _is_framewise_bfloat16(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> bool:
    mixed = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return (
        (mixed or x.dtype == torch.bfloat16)
        and x.device.type == "cpu"
        and (weight.shape[2], stride[0], padding[0]) == (1, 1, 0)
    )


def takes_slow_path(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether PyTorch would run this convolution without oneDNN, although oneDNN is faster.

    False during export, so that exported programs contain PyTorch's own operator only.
    """
    return (
        HAS_ONEDNN
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_exporting()
        and not torch.onnx.is_in_onnx_export()
        and groups == 1
        and x.shape[0] == 1
        and x.shape[1] * x.shape[2] * x.shape[3] <= SLOW_BELOW
        and min(weight.shape[-2:]) <= 3
        # PyTorch computes a 1x1x1 kernel as a matrix product, which is fast
        and weight[0, 0].numel() > 1
    )


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` computed by `conv3d`, except with padding by a name or by other values than zeros."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            return super()._conv_forward(input, weight, bias)
        return conv3d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)


@torch.library.custom_op("refilm::onednn_conv3d", mutates_args=())
def _onednn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    # channels last is oneDNN's fastest layout; the two copies of a contiguous clip cost little beside the convolution
    rows, weight = x.contiguous(memory_format=LAST), weight.contiguous(memory_format=LAST)
    out: Tensor = torch.ops.aten.mkldnn_convolution(rows, weight, bias, padding, stride, dilation, 1)
    return out.contiguous(memory_format=clip_format(x))


@_onednn.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    ]
    return torch.empty(x.shape[0], weight.shape[0], *size, dtype=x.dtype, memory_format=clip_format(x))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.stride, ctx.padding, ctx.dilation = inputs
    ctx.save_for_backward(x, weight)
    ctx.has_bias = bias is not None


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    x_grad = weight_grad = bias_grad = None
    if ctx.has_bias and ctx.needs_input_grad[2]:
        bias_grad = grad.sum((0, 2, 3, 4))
    if tuple(ctx.stride) != (1, 1, 1):
        x_grad, weight_grad, _ = torch.ops.aten.convolution_backward(
            grad,
            x,
            weight,
            None,
            ctx.stride,
            ctx.padding,
            ctx.dilation,
            False,
            (0, 0, 0),
            1,
            (ctx.needs_input_grad[0], ctx.needs_input_grad[1], False),
        )
        return x_grad, weight_grad, bias_grad, None, None, None
    if ctx.needs_input_grad[0]:
        # The gradient of x is a convolution of grad with the flipped kernel. Where the padding exceeds the kernel's
        # reach, the outermost outputs do not depend on x, so their gradients are cut off.
        reach = [d * (k - 1) - p for d, k, p in zip(ctx.dilation, weight.shape[2:], ctx.padding, strict=True)]
        t, h, w = (slice(max(0, -r), n - max(0, -r)) for r, n in zip(reach, grad.shape[2:], strict=True))
        turned = weight.flip(2, 3, 4).transpose(0, 1)
        x_grad = torch.ops.refilm.onednn_conv3d(
            grad[:, :, t, h, w], turned, None, (1, 1, 1), [max(0, r) for r in reach], ctx.dilation
        )
    if ctx.needs_input_grad[1]:
        weight_grad = _weight_gradient(grad, x, weight, ctx.padding, ctx.dilation)
    return x_grad, weight_grad, bias_grad, None, None, None


_onednn.register_autograd(_backward, setup_context=_setup_context)


def _weight_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """The gradient of the weight at stride 1. [N, O, T', H', W'], [N, C, T, H, W] -> the shape of `weight`

    The clip is cut into an upper and a lower half that form a batch of two, because PyTorch uses oneDNN for batches.
    """
    rows = grad.shape[3]
    half, reach = (rows + 1) // 2, dilation[1] * (weight.shape[3] - 1)
    padded = F.pad(x, (0, 0, padding[1], padding[1]))
    halves = torch.cat([padded[:, :, :, : half + reach], padded[:, :, :, rows - half :]])
    grads = torch.cat([grad[:, :, :, :half], grad[:, :, :, rows - half :]])
    if rows % 2:
        grads[1, :, :, 0] = 0  # the middle row is in both halves, and must count once
    result: Tensor = torch.ops.aten.convolution_backward(
        grads.contiguous(memory_format=LAST),
        halves.contiguous(memory_format=LAST),
        weight.contiguous(memory_format=LAST),
        None,
        (1, 1, 1),
        (padding[0], 0, padding[2]),
        dilation,
        False,
        (0, 0, 0),
        1,
        (False, True, False),
    )[1]
    return result
