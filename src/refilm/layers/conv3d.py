"""3D convolution that stays on oneDNN where PyTorch leaves it.

In float32 on a CPU, PyTorch 2.13 sends an ungrouped convolution of a single clip to its own slow loops when
C * T * H <= 20480 and the kernel is at most 3 high or wide, whatever W is: five times slower, both ways. Those are the
shapes of video interpolation. Here such a convolution calls oneDNN by name; everything else is `F.conv3d` unchanged.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# As in PyTorch's choice of a backend (aten/src/ATen/native/Convolution.cpp, use_mkldnn).
SLOW_BELOW = 20480


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    groups: int = 1,
) -> Tensor:
    """`F.conv3d`: [N, C, T, H, W] -> [N, O, T', H', W'], with the same gradients. A result is channels last if x is."""
    if not takes_slow_path(x, weight, stride, groups):
        return F.conv3d(x, weight, bias, tuple(stride), tuple(padding), tuple(dilation), groups)
    out: Tensor = _OneDNN.apply(x, weight, bias, tuple(padding), tuple(dilation))
    return out


def takes_slow_path(x: Tensor, weight: Tensor, stride: Sequence[int], groups: int) -> bool:
    """Whether PyTorch would run this convolution without oneDNN, and `conv3d` can do better (stride 1)."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and groups == 1
        and tuple(stride) == (1, 1, 1)
        and x.shape[0] == 1
        and x.shape[1] * x.shape[2] * x.shape[3] <= SLOW_BELOW
        and min(weight.shape[-2:]) <= 3
        # a matrix product in all but name, where the slow path is not slow
        and weight[0, 0].numel() > 1
    )


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` on the fast path."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            return super()._conv_forward(input, weight, bias)
        return conv3d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class _OneDNN(torch.autograd.Function):
    """A convolution of one clip with stride 1; `torch.ops.aten.mkldnn_convolution` has a fast forward only."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...], dilation: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.dilation, ctx.has_bias = padding, dilation, bias is not None
        return _mkldnn(x, weight, bias, padding, dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        x_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            reach = [d * (k - 1) - p for d, k, p in zip(ctx.dilation, weight.shape[2:], ctx.padding, strict=True)]
            inner = [slice(max(0, -r), n - max(0, -r)) for r, n in zip(reach, grad.shape[2:], strict=True)]
            x_grad = _mkldnn(
                grad[:, :, inner[0], inner[1], inner[2]],
                weight.flip(2, 3, 4).transpose(0, 1),
                None,
                [max(0, r) for r in reach],
                ctx.dilation,
            )
        if ctx.needs_input_grad[1]:
            weight_grad = _weight_gradient(grad, x, weight, ctx.padding, ctx.dilation)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            bias_grad = grad.sum((0, 2, 3, 4))
        return x_grad, weight_grad, bias_grad, None, None


def _mkldnn(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], dilation: Sequence[int]) -> Tensor:
    last = x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
    # oneDNN's fastest layout; a contiguous clip costs two copies, which are cheap beside the convolution
    x = x.contiguous(memory_format=torch.channels_last_3d)
    weight = weight.contiguous(memory_format=torch.channels_last_3d)
    out: Tensor = torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, (1, 1, 1), dilation, 1)
    return out if last else out.contiguous()


def _weight_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """Cuts the clip into an upper and a lower half: a batch of two is what PyTorch gives to oneDNN."""
    rows = grad.shape[3]
    half, reach = (rows + 1) // 2, dilation[1] * (weight.shape[3] - 1)
    padded = F.pad(x, (0, 0, padding[1], padding[1]))
    halves = torch.cat([padded[:, :, :, : half + reach], padded[:, :, :, rows - half :]])
    grads = torch.cat([grad[:, :, :, :half], grad[:, :, :, rows - half :]])
    if rows % 2:
        grads[1, :, :, 0] = 0  # the middle row is in both halves
    result: Tensor = torch.ops.aten.convolution_backward(
        grads.contiguous(memory_format=torch.channels_last_3d),
        halves.contiguous(memory_format=torch.channels_last_3d),
        weight.contiguous(memory_format=torch.channels_last_3d),
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
