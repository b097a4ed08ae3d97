"""LS3D-Conv in plain torch, forward and backward: the definition that every kernel is tested against.

Source   "Learnable sampling 3D convolution for video enhancement and action recognition", (1)-(3).
Departs  where the paper says nothing: pixels outside the frame and frames outside the clip are zero, decided for each
         of the four corners of a sample, so that with kT = 1 this is torchvision's modulated deformable convolution.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Geometry:
    """How the kernel moves over the input, each triple as (time, height, width)."""

    stride: Triple
    padding: Triple
    dilation: Triple
    groups: int


def output_size(size: Triple, kernel: Triple, stride: Triple, padding: Triple, dilation: Triple) -> Triple:
    """(T', H', W') of a convolution over (T, H, W)."""
    t, h, w = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    return t, h, w


def ls3d_conv(
    x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """`refilm.ops.ls3d_conv` of checked inputs. Computes in float32, or float64 if x is; rounds at the end."""
    exact = _exact(x)
    rows = x.to(exact).permute(0, 2, 3, 4, 1)  # [N, T, H, W, C]: one index reads all channels of a position
    kernels = weight.to(exact).flatten(2)  # [O, C/groups, K]
    out = x.new_zeros((x.shape[0], weight.shape[0], *offset.shape[2:]), dtype=exact)
    for tap in range(kernels.shape[2]):
        m = importance[:, tap].to(exact)
        corners = _corners(rows, tap, tuple(weight.shape[2:]), offset.to(exact), geometry)
        column = sum((c.sampled(m) for c in corners), rows.new_zeros(()))  # [N, T', H', W', C]
        out = out + _grouped("nthwgc,goc->ngothw", column, kernels[..., tap], geometry.groups).flatten(1, 2)
    if bias is not None:
        out = out + bias.to(exact).view(-1, 1, 1, 1)
    return out.to(x.dtype)


def ls3d_conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, offset and importance. Bilinear sampling has no derivative at integer positions;
    there, the gradient of the offset is the derivative to the right and downwards."""
    exact, groups = _exact(x), geometry.groups
    rows, kernels = x.to(exact).permute(0, 2, 3, 4, 1), weight.to(exact).flatten(2)
    grad = grad.to(exact).unflatten(1, (groups, -1))  # [N, G, O/G, T', H', W']
    rows_grad, kernels_grad = torch.zeros_like(rows, memory_format=torch.contiguous_format), torch.zeros_like(kernels)
    offset_grad, importance_grad = torch.zeros_like(offset, dtype=exact), torch.zeros_like(importance, dtype=exact)
    for tap in range(kernels.shape[2]):
        m = importance[:, tap].to(exact)
        kernel = kernels[..., tap].unflatten(0, (groups, -1))
        column_grad = torch.einsum("ngothw,goc->nthwgc", grad, kernel).flatten(4)
        column = torch.zeros_like(column_grad)
        for corner in _corners(rows, tap, tuple(weight.shape[2:]), offset.to(exact), geometry):
            column += corner.sampled(m)
            coefficient = m * corner.near
            rows_grad.index_put_(corner.index, coefficient[..., None] * column_grad, accumulate=True)
            agreement = (column_grad * corner.value(m)).sum(-1)  # [N, T', H', W']
            importance_grad[:, tap] += corner.near * agreement
            offset_grad[:, 2 * tap] += m * corner.near_dy * agreement
            offset_grad[:, 2 * tap + 1] += m * corner.near_dx * agreement
        kernels_grad[..., tap] = torch.einsum("ngothw,nthwgc->goc", grad, column.unflatten(4, (groups, -1))).flatten(
            0, 1
        )
    return (
        rows_grad.permute(0, 4, 1, 2, 3).to(x.dtype),
        kernels_grad.view(weight.shape).to(weight.dtype),
        offset_grad.to(offset.dtype),
        importance_grad.to(importance.dtype),
    )


def _exact(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _grouped(equation: str, column: Tensor, kernel: Tensor, groups: int) -> Tensor:
    return torch.einsum(equation, column.unflatten(4, (groups, -1)), kernel.unflatten(0, (groups, -1)))


@dataclass(frozen=True)
class _Corner:
    """One of the four pixels around each sampling position. Each field is [N, T', H', W'], `pixels` with C after it."""

    index: tuple[Tensor, ...]  # into [N, T, H, W, C]; that of the first pixel where the corner is outside
    inside: Tensor
    near: Tensor  # bilinear weight of the corner; zero outside
    near_dy: Tensor  # derivative of `near` with respect to the vertical position
    near_dx: Tensor
    pixels: Tensor

    def value(self, importance: Tensor) -> Tensor:
        """The pixels; zero outside, and where a pixel that is not finite has weight zero, since 0 * inf is not 0."""
        counts = (importance * self.near != 0)[..., None] | self.pixels.isfinite()
        return torch.where(self.inside[..., None] & counts, self.pixels, 0)

    def sampled(self, importance: Tensor) -> Tensor:
        """What this corner adds to the sample of its tap, [N, T', H', W', C]."""
        return (importance * self.near)[..., None] * self.value(importance)


def _corners(rows: Tensor, tap: int, kernel: tuple[int, ...], offset: Tensor, geometry: Geometry) -> Iterator[_Corner]:
    """The four corners around the positions that `tap` samples. All are outside where a position is not finite."""
    n, frames, height, width, _ = rows.shape
    place = (tap // (kernel[1] * kernel[2]), tap // kernel[2] % kernel[1], tap % kernel[2])
    t, y, x = (
        torch.arange(count, device=rows.device) * s - p + k * d
        for count, s, p, d, k in zip(
            offset.shape[2:], geometry.stride, geometry.padding, geometry.dilation, place, strict=True
        )
    )
    t = t[:, None, None]
    position_y, position_x = y[:, None] + offset[:, 2 * tap], x + offset[:, 2 * tap + 1]  # [N, T', H', W']
    top, left = position_y.floor(), position_x.floor()
    down, right = position_y - top, position_x - left
    batch = torch.arange(n, device=rows.device).view(-1, 1, 1, 1)
    for lower, righter in product((0, 1), (0, 1)):
        corner_y, corner_x = top + lower, left + righter
        inside = (t >= 0) & (t < frames) & (corner_y >= 0) & (corner_y < height) & (corner_x >= 0) & (corner_x < width)
        index = tuple(torch.where(inside, i, 0).long().expand(inside.shape) for i in (batch, t, corner_y, corner_x))
        share_y, share_x = (down if lower else 1 - down), (right if righter else 1 - right)
        yield _Corner(
            index,
            inside,
            near=torch.where(inside, share_y * share_x, 0),
            near_dy=torch.where(inside, share_x if lower else -share_x, 0),
            near_dx=torch.where(inside, share_y if righter else -share_y, 0),
            pixels=rows[index],
        )
