"""The CUDA kernels of correlation, in Triton. Both gradients are gathered, so all results are the same in every run."""

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
    def _forward(left, right, out, C, H, W, radius, PIXELS: tl.constexpr):
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        side = 2 * radius + 1
        k = tl.program_id(1)
        j, i = k // side - radius, k % side - radius
        inside = live & in_frame(y + j, x + i, H, W)
        total = tl.zeros((PIXELS,), tl.float32)
        for c in range(C):
            plane = n * C + c
            total += read(left, plane, at, H, W, live) * read(right, plane, at + j * W + i, H, W, inside)
        write(out, n * side * side + k, at, H, W, total / C, live)

    @triton.jit
    def _gradient(grad, other, out, C, H, W, radius, OF_RIGHT: tl.constexpr, PIXELS: tl.constexpr):
        """The gradient of one map from the other one: of left from right, or of right from left."""
        n, at, y, x, live = block_of_pixels(H, W, PIXELS)
        side = 2 * radius + 1
        c = tl.program_id(1)
        total = tl.zeros((PIXELS,), tl.float32)
        for k in range(side * side):
            j, i = k // side - radius, k % side - radius
            if OF_RIGHT:  # the pixel of left that was compared with this one lies the other way
                j, i = -j, -i
            place = at + j * W + i
            inside = live & in_frame(y + j, x + i, H, W)
            above = read(grad, n * side * side + k, place if OF_RIGHT else at, H, W, inside)
            total += above * read(other, n * C + c, place, H, W, inside)
        write(out, n * C + c, at, H, W, total / C, live)


def forward(left: Tensor, right: Tensor, radius: int) -> Tensor:
    """`reference.correlation`."""
    left, right = left.contiguous(), right.contiguous()
    n, c, height, width = left.shape
    pairs = (2 * radius + 1) ** 2
    out = left.new_empty(n, pairs, height, width)
    run(_forward, left, left, right, out, c, height, width, radius, others=(pairs,))
    return out


def backward(grad: Tensor, kept: Sequence[Tensor], numbers: Sequence[int], wanted: Sequence[bool]) -> list[Tensor]:
    """The gradients of left and right, as far as they are wanted."""
    left, right = (t.contiguous() for t in kept)
    grads = []
    for other, of_right in ((right, False), (left, True)):
        if wanted[of_right]:
            grads.append(torch.empty_like(other))
            sizes = *other.shape[1:], *numbers
            run(
                _gradient,
                other,
                grad.contiguous(),
                other,
                grads[-1],
                *sizes,
                others=(other.shape[1],),
                OF_RIGHT=of_right,
            )
    return grads
