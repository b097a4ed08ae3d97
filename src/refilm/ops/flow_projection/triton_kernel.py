"""The CUDA kernels of flow projection, in Triton.

Nothing is added up with atomics, so results and gradients are the same in every run: the pixels are sorted by where
they land, and each pixel of the result collects what landed on it, in their order. The gradients are gathered.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

import torch
from torch import Tensor

from refilm.ops.triton_maps import available, reason, run

__all__ = ["available", "backward", "forward", "reason"]

if available:
    import triton
    import triton.language as tl

    from refilm.ops.triton_maps import block_of_pixels, in_frame, read, write

    @triton.jit
    def _landing(flow, n, at, y, x, live, H, W):
        """The pixel above and to the left of where each one lands, whether it lands in the frame, and its flow."""
        dx, dy = read(flow, 2 * n, at, H, W, live), read(flow, 2 * n + 1, at, H, W, live)
        u, v = x + dx, y + dy
        # between the pixels at the border
        lands = live & (u >= 0) & (u <= W - 1) & (v >= 0) & (v <= H - 1)
        return tl.where(lands, v, 0.0).to(tl.int32), tl.where(lands, u, 0.0).to(tl.int32), lands, dx, dy

    @triton.jit
    def _places(flow, places, outside, H, W, PIXELS: tl.constexpr):
        """Where each pixel lands, as the number of a pixel of all maps; `outside` if not in the frame."""
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        top, left, lands, _, _ = _landing(flow, n, at, y, x, live, H, W)
        place = tl.where(lands, n * H * W + top * W + left, outside)
        write(places, n, at, H, W, place, live)

    @triton.jit
    def _mean(flow, weight, order, starts, out, weights, H, W, PIXELS: tl.constexpr):
        """The mean of what lands at each pixel, and the sum of weights; `order` and `starts`: see `_sorted`."""
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        sum_x, sum_y = tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32)
        total = tl.zeros((PIXELS,), tl.float32)
        for number in tl.static_range(4):
            # what has this pixel as its upper left, upper right, lower left and lower right one
            down, right = number // 2, number % 2
            inside = live & in_frame(y - down, x - right, H, W)
            cell = starts + n * H * W + at - down * W - right
            first, last = tl.load(cell, mask=inside, other=0), tl.load(cell + 1, mask=inside, other=0)
            for step in range(tl.max(last - first, 0)):
                here = first + step < last
                source = tl.load(order + first + step, mask=here, other=0) - n * H * W
                w = read(weight, n, source, H, W, here)
                sum_x -= read(flow, 2 * n, source, H, W, here) * w
                sum_y -= read(flow, 2 * n + 1, source, H, W, here) * w
                total += w
        divisor = tl.where(total > 0, total, 1.0)
        write(out, 2 * n, at, H, W, sum_x / divisor, live)
        write(out, 2 * n + 1, at, H, W, sum_y / divisor, live)
        write(weights, n, at, H, W, total, live)

    @triton.jit
    def _fill_holes(out, weights, H, W, PIXELS: tl.constexpr):
        """Gives holes the mean of the nearest filled pixels to the left, to the right, above and below."""
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        hole = live & ~(read(weights, n, at, H, W, live) > 0)
        sum_x, sum_y = tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32)
        count = tl.zeros((PIXELS,), tl.float32)
        for direction in tl.static_range(4):
            step = 1 if direction % 2 else -1
            down, right = step * (direction // 2), step * (1 - direction // 2)
            row, column = y, x
            searching = hole.to(tl.int32)
            while tl.max(searching, 0) > 0:
                row, column = row + down * searching, column + right * searching
                inside = in_frame(row, column, H, W) & (searching > 0)
                filled = read(weights, n, row * W + column, H, W, inside) > 0
                searching = (inside & ~filled).to(tl.int32)
            found = hole & in_frame(row, column, H, W)
            # filled pixels are not written to, so it does not matter which holes have been filled
            sum_x += read(out, 2 * n, row * W + column, H, W, found)
            sum_y += read(out, 2 * n + 1, row * W + column, H, W, found)
            count += found.to(tl.float32)
        count = tl.maximum(count, 1.0)
        write(out, 2 * n, at, H, W, sum_x / count, hole)
        write(out, 2 * n + 1, at, H, W, sum_y / count, hole)

    @triton.jit
    def _gradients(grad, flow, weight, out, weights, flow_grad, weight_grad, H, W,
                   FLOW: tl.constexpr, WEIGHT: tl.constexpr, PIXELS: tl.constexpr):  # fmt: skip
        """The mean m at a pixel is the sum of w * -f over the sum s of w. So with g the gradient of m, what lands there
        gets -w g / s for its f, and -(f + m) . g / s for its w."""
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        top, left, lands, dx, dy = _landing(flow, n, at, y, x, live, H, W)
        to_x, to_y = tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32)
        to_w = tl.zeros((PIXELS,), tl.float32)
        for number in tl.static_range(4):
            row, column = top + number // 2, left + number % 2
            place, inside = row * W + column, lands & in_frame(row, column, H, W)
            s = read(weights, n, place, H, W, inside)
            inside = inside & (s > 0)
            s = tl.where(inside, s, 1.0)
            gx = read(grad, 2 * n, place, H, W, inside) / s
            gy = read(grad, 2 * n + 1, place, H, W, inside) / s
            to_x -= gx
            to_y -= gy
            to_w -= gx * (dx + read(out, 2 * n, place, H, W, inside))
            to_w -= gy * (dy + read(out, 2 * n + 1, place, H, W, inside))
        if FLOW:
            w = read(weight, n, at, H, W, live)
            write(flow_grad, 2 * n, at, H, W, w * to_x, live)
            write(flow_grad, 2 * n + 1, at, H, W, w * to_y, live)
        if WEIGHT:
            write(weight_grad, n, at, H, W, tl.where(lands, to_w, 0.0), live)


def forward(flow: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`reference.flow_projection`."""
    flow, weight = flow.contiguous(), weight.contiguous()
    out, weights = torch.empty_like(flow), torch.empty_like(weight)
    size = flow.shape[2:]
    order, starts = _sorted(flow)
    run(_mean, flow, flow, weight, order, starts, out, weights, *size)
    run(_fill_holes, flow, out, weights, *size)
    return out, weights


def backward(grad: Tensor, kept: Sequence[Tensor], numbers: Sequence[int], wanted: Sequence[bool]) -> list[Tensor]:
    """The gradients of flow and weight, as far as they are wanted."""
    kept = [t.contiguous() for t in kept]
    grads = [torch.empty_like(t) for t in kept[:2]]
    run(_gradients, kept[0], grad.contiguous(), *kept, *grads, *grad.shape[2:], FLOW=wanted[0], WEIGHT=wanted[1])
    return [each for each, is_wanted in zip(grads, wanted, strict=True) if is_wanted]


def _sorted(flow: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of all pixels, sorted by where they land, and where in this order those of each place begin.

    [N * H * W], [N * H * W + 1], int64
    """
    n, _, height, width = flow.shape
    pixels = n * height * width
    places = torch.empty(pixels, dtype=torch.int64, device=flow.device)
    run(_places, flow, flow, places, pixels, height, width)
    places, order = places.sort(stable=True)
    return order, torch.searchsorted(places, torch.arange(pixels + 1, device=flow.device))
