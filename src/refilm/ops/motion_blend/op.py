"""The operator `refilm::motion_blend`. It is defined by reference.py; cpu.cpp has its kernel."""

from typing import Any

import torch
from torch import Tensor

from refilm.ops.motion_blend import reference
from refilm.ops.registration import Operator


def motion_blend(
    motion: Tensor,
    clip: Tensor,
    time: float,
    steps: int,
    occlusion: float,
    floor: float,
    border: float,
    rows: tuple[int, int] | None = None,
) -> Tensor:
    """A frame at `time` between the two in the middle of a clip, blended along the motion in both directions.

    The point of a frame, the origin, that is at pixel x at this time has the position s with s + gone(s) = x, where

        gone = elapsed * flow - elapsed * (1 - elapsed) / 2 * acceleration,

    where elapsed is `time`, or 1 - `time` from the later frame. s is found by `steps` fixed-point steps
    s <- x - gone(s) from x. The origin is sampled at x - gone(s), the other frame at x - gone(s) + flow(s), bilinearly.
    The result is the weighted mean of these four samples. A weight falls with the distance in time; where the flow back
    differs by d pixels from the way there, by

        floor + (1 - floor) / (1 + (d / occlusion)^2),

    and by 1/e for each `border` pixels outside the frame, to no less than 0.001.

    motion  [2, N, 4, H, W]   from the earlier frame to the later one, and back: flow (dx, dy) in pixels, acceleration
    clip    [N, C, T, H, W]   T even
    time    in (0, 1)
    rows    first and last + 1 of the rows that are wanted; None: all H
    out     [N, C, rows, W], of the dtype of `motion`; its gradients are those of the reference
    """
    if clip.dim() != 5 or clip.shape[2] % 2:
        raise ValueError(f"clip must be [N, C, T, H, W] with T even, got {list(clip.shape)}")
    n, _, _, height, width = clip.shape
    if tuple(motion.shape) != (2, n, 4, height, width):
        raise ValueError(
            f"motion must be [2, N, 4, H, W] = {[2, n, 4, height, width]} to match clip, got {list(motion.shape)}"
        )
    top, bottom = rows or (0, height)
    if not 0 <= top < bottom <= height:
        raise ValueError(f"rows must lie in (0, {height}), got {(top, bottom)}")
    arguments = motion, clip, time, steps, occlusion, floor, border, top, bottom
    # the kernel samples pairs of pixels, and one column has none
    out: Tensor = OPERATOR(*arguments) if width > 1 else reference.motion_blend(*arguments)
    return out


def _shapes(_: Tensor, clip: Tensor, *numbers: Any) -> list[tuple[int, ...]]:
    top, bottom = numbers[-2:]
    return [(*clip.shape[:2], bottom - top, clip.shape[4])]


OPERATOR = Operator(
    "motion_blend",
    reference.motion_blend,
    _shapes,
    numbers=7,
    dtypes=(torch.float32,),
    differentiable=False,
)
