"""The CUDA kernels of dynamic upsampling filters, in Triton. All gradients are gathered, so all results are the same in
every run.
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

    from refilm.ops.triton_maps import block_of_channels, block_of_pixels, in_frame, many, read, write

    @triton.jit
    def _place_in_out(y, x, part, W, S):
        """Where sub-pixel `part` of a pixel lies in a plane of the output, counted in 64 bits."""
        return (y.to(tl.int64) * S + part // S) * W * S + x * S + part % S

    @triton.jit
    def _forward(frame, filters, out, C, H, W, K, S, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        c = block_of_channels(CHANNELS)
        part = tl.program_id(2)
        total = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for tap in range(K * K):
            j, i = tap // K - K // 2, tap % K - K // 2
            mask = (live & in_frame(y + j, x + i, H, W))[:, None] & (c < C)[None, :]
            pixels = tl.load(frame + many(n, c, at + j * W + i, C, H, W), mask=mask, other=0.0)
            total += pixels * read(filters, (n * K * K + tap) * S * S + part, at, H, W, live)[:, None]
        to = out + many(n, c, _place_in_out(y, x, part, W, S), C, H * S, W * S)
        tl.store(to, total, mask=live[:, None] & (c < C)[None, :])

    @triton.jit
    def _filters_gradient(grad, frame, filters_grad, C, H, W, K, S, PIXELS: tl.constexpr):
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        part, tap = tl.program_id(1), tl.program_id(2)
        j, i = tap // K - K // 2, tap % K - K // 2
        inside = live & in_frame(y + j, x + i, H, W)
        place = _place_in_out(y, x, part, W, S)
        total = tl.zeros((PIXELS,), tl.float32)
        for c in range(C):
            above = read(grad, n * C + c, place, H * S, W * S, inside)
            total += above * read(frame, n * C + c, at + j * W + i, H, W, inside)
        write(filters_grad, (n * K * K + tap) * S * S + part, at, H, W, total, live)

    @triton.jit
    def _frame_gradient(grad, filters, frame_grad, C, H, W, K, S, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        c = block_of_channels(CHANNELS)
        total = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for tap in range(K * K):
            # the pixel whose filter had this one at the tap
            j, i = K // 2 - tap // K, K // 2 - tap % K
            inside = live & in_frame(y + j, x + i, H, W)
            mask = inside[:, None] & (c < C)[None, :]
            for part in range(S * S):
                place = _place_in_out(y + j, x + i, part, W, S)
                above = tl.load(grad + many(n, c, place, C, H * S, W * S), mask=mask, other=0.0)
                plane = (n * K * K + tap) * S * S + part
                total += above * read(filters, plane, at + j * W + i, H, W, inside)[:, None]
        tl.store(frame_grad + many(n, c, at, C, H, W), total, mask=live[:, None] & (c < C)[None, :])


def forward(frame: Tensor, filters: Tensor) -> Tensor:
    """`reference.dynamic_filter`."""
    frame, filters = frame.contiguous(), filters.contiguous()
    n, c, height, width = frame.shape
    taps, scale = isqrt(filters.shape[1]), isqrt(filters.shape[2])
    out = frame.new_empty(n, c, scale * height, scale * width)
    size, blocks = block(c)
    sizes = c, height, width, taps, scale
    run(_forward, frame, frame, filters, out, *sizes, others=(blocks, scale * scale), CHANNELS=size)
    return out


def backward(grad: Tensor, kept: Sequence[Tensor], numbers: Sequence[int], wanted: Sequence[bool]) -> list[Tensor]:
    """The gradients of frame and filters, as far as they are wanted."""
    grad, frame, filters = grad.contiguous(), *(t.contiguous() for t in kept)
    taps, parts = filters.shape[1:3]
    sizes = *frame.shape[1:], isqrt(taps), isqrt(parts)
    grads = []
    if wanted[0]:
        grads.append(torch.empty_like(frame))
        size, blocks = block(frame.shape[1])
        run(_frame_gradient, frame, grad, filters, grads[-1], *sizes, others=(blocks,), CHANNELS=size)
    if wanted[1]:
        grads.append(torch.empty_like(filters))
        run(_filters_gradient, frame, grad, frame, grads[-1], *sizes, others=(parts, taps))
    return grads
