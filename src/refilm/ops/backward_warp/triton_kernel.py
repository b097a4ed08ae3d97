"""The CUDA kernels of backward warping, in Triton.

The gradient of the flow is gathered. That of the frame is added up with atomics, so its last bits vary from run to run,
as they do for `grid_sample`.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

import torch
from torch import Tensor

from refilm.ops.triton_maps import available, block, reason, run

__all__ = ["available", "backward", "forward", "reason"]

if available:
    import triton
    import triton.language as tl

    from refilm.ops.triton_maps import block_of_channels, block_of_pixels, in_frame, many, read, write

    @triton.jit
    def _position(flow, n, at, y, x, live, H, W):
        """The pixel above and to the left of where each pixel samples, as floats, and the way to the right and down."""
        u = x + read(flow, 2 * n, at, H, W, live)
        v = y + read(flow, 2 * n + 1, at, H, W, live)
        left, top = tl.floor(u), tl.floor(v)
        return left, top, u - left, v - top

    @triton.jit
    def _tap(number: tl.constexpr, left, top, right, down, live, H, W):
        """A tap (top left, top right, bottom left, bottom right): whether it is in the frame, its place, and its shares
        by row and by column, 0 outside the frame."""
        row, column = top + number // 2, left + number % 2
        # compared as floats, before the conversion to whole numbers, which is undefined for positions far away
        inside = live & in_frame(row, column, H, W)
        place = tl.where(inside, row, 0.0).to(tl.int32) * W + tl.where(inside, column, 0.0).to(tl.int32)
        by_row = tl.where(inside, down if number // 2 else 1 - down, 0.0)
        by_column = tl.where(inside, right if number % 2 else 1 - right, 0.0)
        return inside, place, by_row, by_column

    @triton.jit
    def _forward(frame, flow, out, C, H, W, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        c = block_of_channels(CHANNELS)
        left, top, right, down = _position(flow, n, at, y, x, live, H, W)
        total = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for number in tl.static_range(4):
            inside, place, by_row, by_column = _tap(number, left, top, right, down, live, H, W)
            mask = inside[:, None] & (c < C)[None, :]
            total += (by_row * by_column)[:, None] * tl.load(frame + many(n, c, place, C, H, W), mask=mask, other=0.0)
        tl.store(out + many(n, c, at, C, H, W), total, mask=live[:, None] & (c < C)[None, :])

    @triton.jit
    def _flow_gradient(grad, frame, flow, flow_grad, C, H, W, PIXELS: tl.constexpr):
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        left, top, right, down = _position(flow, n, at, y, x, live, H, W)
        to_dx, to_dy = tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32)
        for number in tl.static_range(4):
            inside, place, by_row, by_column = _tap(number, left, top, right, down, live, H, W)
            product = tl.zeros((PIXELS,), tl.float32)  # of the gradient and the pixel, over all channels
            for c in range(C):
                above = read(grad, n * C + c, at, H, W, live)
                product += above * read(frame, n * C + c, place, H, W, inside)
            to_dx += product * by_row * (1 if number % 2 else -1)
            to_dy += product * by_column * (1 if number // 2 else -1)
        write(flow_grad, 2 * n, at, H, W, to_dx, live)
        write(flow_grad, 2 * n + 1, at, H, W, to_dy, live)

    @triton.jit
    def _frame_gradient(grad, flow, frame_grad, C, H, W, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        c = block_of_channels(CHANNELS)
        left, top, right, down = _position(flow, n, at, y, x, live, H, W)
        mask = live[:, None] & (c < C)[None, :]
        above = tl.load(grad + many(n, c, at, C, H, W), mask=mask, other=0.0)
        for number in tl.static_range(4):
            inside, place, by_row, by_column = _tap(number, left, top, right, down, live, H, W)
            to = frame_grad + many(n, c, place, C, H, W)
            tl.atomic_add(to, (by_row * by_column)[:, None] * above, mask=mask & inside[:, None])


def forward(frame: Tensor, flow: Tensor) -> Tensor:
    """`reference.backward_warp`."""
    frame, flow = frame.contiguous(), flow.contiguous()
    out = torch.empty_like(frame)
    size, blocks = block(frame.shape[1])
    run(_forward, frame, frame, flow, out, *frame.shape[1:], others=(blocks,), CHANNELS=size)
    return out


def backward(grad: Tensor, kept: Sequence[Tensor], numbers: Sequence[int], wanted: Sequence[bool]) -> list[Tensor]:
    """The gradients of frame and flow, as far as they are wanted."""
    grad, frame, flow = grad.contiguous(), *(t.contiguous() for t in kept)
    grads = []
    if wanted[0]:
        grads.append(torch.zeros_like(frame))
        size, blocks = block(frame.shape[1])
        run(_frame_gradient, frame, grad, flow, grads[-1], *frame.shape[1:], others=(blocks,), CHANNELS=size)
    if wanted[1]:
        grads.append(torch.empty_like(flow))
        run(_flow_gradient, frame, grad, frame, flow, grads[-1], *frame.shape[1:])
    return grads
