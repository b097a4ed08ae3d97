"""The CUDA kernels of adaptive warping, in Triton.

The gradients of flow and kernel are gathered. That of the frame is added up with atomics, so its last bits vary from
run to run.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor

from refilm.ops.triton_maps import available, block, reason, run

__all__ = ["available", "backward", "forward", "reason"]

if available:
    import triton
    import triton.language as tl

    from refilm.ops.triton_maps import block_of_channels, block_of_pixels, many, read, write

    @triton.jit
    def _clamped(position, last):
        """A position along one axis, clamped to the frame; what is no number stays so."""
        position = tl.where(position < 0, 0.0, position)
        return tl.where(position > last, last, position)

    @triton.jit
    def _position(flow, n, at, y, x, live, H, W):
        """Where each pixel samples, (u, v), and whether it was clamped to the frame along each axis."""
        moved_x = x + read(flow, 2 * n, at, H, W, live)
        moved_y = y + read(flow, 2 * n + 1, at, H, W, live)
        u, v = _clamped(moved_x, W - 1), _clamped(moved_y, H - 1)
        return u, v, u != moved_x, v != moved_y

    @triton.jit
    def _tap(j, i, u, v, H, W, R):
        """Place of tap (j, i), and its shares by row and by column."""
        left, top = tl.floor(u), tl.floor(v)
        # a position that is no number reads some pixel; its share is no number either
        row = tl.minimum(tl.maximum(top.to(tl.int32) + 1 - R // 2 + j, 0), H - 1)
        column = tl.minimum(tl.maximum(left.to(tl.int32) + 1 - R // 2 + i, 0), W - 1)
        by_row = tl.where(j >= R // 2, v - top, 1 - (v - top))
        by_column = tl.where(i >= R // 2, u - left, 1 - (u - left))
        return row * W + column, by_row, by_column

    @triton.jit
    def _forward(frame, flow, kernel, out, C, H, W, R, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        c = block_of_channels(CHANNELS)
        mask = live[:, None] & (c < C)[None, :]
        u, v, _, _ = _position(flow, n, at, y, x, live, H, W)
        total = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for j in range(R):
            for i in range(R):
                place, by_row, by_column = _tap(j, i, u, v, H, W, R)
                weight = by_row * by_column * read(kernel, n * R * R + j * R + i, at, H, W, live)
                total += weight[:, None] * tl.load(frame + many(n, c, place, C, H, W), mask=mask, other=0.0)
        tl.store(out + many(n, c, at, C, H, W), total, mask=mask)

    @triton.jit
    def _slopes(grad, frame, flow, kernel, flow_grad, kernel_grad, C, H, W, R,
                FLOW: tl.constexpr, KERNEL: tl.constexpr, PIXELS: tl.constexpr):  # fmt: skip
        """The gradients of flow and kernel, as far as they are wanted."""
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        u, v, clamped_x, clamped_y = _position(flow, n, at, y, x, live, H, W)
        to_dx, to_dy = tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32)
        for j in range(R):
            for i in range(R):
                place, by_row, by_column = _tap(j, i, u, v, H, W, R)
                product = tl.zeros((PIXELS,), tl.float32)  # of the gradient and the pixel, over all channels
                for c in range(C):
                    above = read(grad, n * C + c, at, H, W, live)
                    product += above * read(frame, n * C + c, place, H, W, live)
                plane = n * R * R + j * R + i
                if KERNEL:
                    write(kernel_grad, plane, at, H, W, by_row * by_column * product, live)
                if FLOW:
                    product *= read(kernel, plane, at, H, W, live)
                    to_dx += tl.where(i >= R // 2, by_row, -by_row) * product
                    to_dy += tl.where(j >= R // 2, by_column, -by_column) * product
        if FLOW:
            # a position that was clamped does not move with the flow
            write(flow_grad, 2 * n, at, H, W, tl.where(clamped_x, 0.0, to_dx), live)
            write(flow_grad, 2 * n + 1, at, H, W, tl.where(clamped_y, 0.0, to_dy), live)

    @triton.jit
    def _frame_gradient(grad, flow, kernel, frame_grad, C, H, W, R, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        c = block_of_channels(CHANNELS)
        mask = live[:, None] & (c < C)[None, :]
        above = tl.load(grad + many(n, c, at, C, H, W), mask=mask, other=0.0)
        u, v, _, _ = _position(flow, n, at, y, x, live, H, W)
        for j in range(R):
            for i in range(R):
                place, by_row, by_column = _tap(j, i, u, v, H, W, R)
                weight = by_row * by_column * read(kernel, n * R * R + j * R + i, at, H, W, live)
                tl.atomic_add(frame_grad + many(n, c, place, C, H, W), weight[:, None] * above, mask=mask)


def forward(frame: Tensor, flow: Tensor, kernel: Tensor) -> Tensor:
    """`reference.adaptive_warp`."""
    frame, flow, kernel = frame.contiguous(), flow.contiguous(), kernel.contiguous()
    out = torch.empty_like(frame)
    size, blocks = block(frame.shape[1])
    sizes = *frame.shape[1:], isqrt(kernel.shape[1])
    run(_forward, frame, frame, flow, kernel, out, *sizes, others=(blocks,), CHANNELS=size)
    return out


def backward(grad: Tensor, kept: Sequence[Tensor], numbers: Sequence[int], wanted: Sequence[bool]) -> list[Tensor]:
    """The gradients of frame, flow and kernel, as far as they are wanted."""
    grad, frame, flow, kernel = grad.contiguous(), *(t.contiguous() for t in kept)
    grads = [torch.zeros_like(frame), torch.empty_like(flow), torch.empty_like(kernel)]
    sizes = *frame.shape[1:], isqrt(kernel.shape[1])
    if wanted[0]:
        size, blocks = block(frame.shape[1])
        run(_frame_gradient, frame, grad, flow, kernel, grads[0], *sizes, others=(blocks,), CHANNELS=size)
    if wanted[1] or wanted[2]:
        run(_slopes, frame, grad, frame, flow, kernel, *grads[1:], *sizes, FLOW=wanted[1], KERNEL=wanted[2])
    return [each for each, is_wanted in zip(grads, wanted, strict=True) if is_wanted]
