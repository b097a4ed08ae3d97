"""Inputs for the tests of the operators on maps, by operator and case: sizes that break tiles and vectors, borders."""

from __future__ import annotations

import torch
from torch import Tensor

LAST = torch.channels_last
SIZES = [(1, 1), (1, 7), (5, 1), (3, 4), (5, 33), (17, 64), (19, 70)]


def rand(*shape: int, sigma: float = 1.0, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * sigma


def _flow(n: int, h: int, w: int, sigma: float = 2.0) -> Tensor:
    """Away from whole pixels, where warping has a kink: rounding could move it to the other side."""
    flow = rand(n, 2, h, w, sigma=sigma, seed=3)
    return flow.floor() + 0.1 + 0.8 * (flow - flow.floor())


def _cases() -> dict[str, dict[str, tuple[object, ...]]]:
    cases: dict[str, dict[str, tuple[object, ...]]] = {
        name: {} for name in ("adaptive_warp", "backward_warp", "correlation", "dynamic_filter", "flow_projection")
    }
    for h, w in SIZES:
        size, n = f"{h}x{w}", 1 + h % 2
        for c in (1, 3, 6):
            frame = rand(n, c, h, w)
            cases["backward_warp"][f"{size}, C = {c}"] = (frame, _flow(n, h, w))
            taps = {1: 4, 3: 16, 6: 36}[c]
            cases["adaptive_warp"][f"{size}, C = {c}, R^2 = {taps}"] = (
                frame,
                _flow(n, h, w),
                rand(n, taps, h, w, seed=1),
            )
            radius = {1: 0, 3: 4, 6: 3}[c]
            cases["correlation"][f"{size}, C = {c}, radius {radius}"] = (frame, rand(n, c, h, w, seed=1), radius)
            taps, parts = {1: (1, 1), 3: (25, 16), 6: (9, 4)}[c]
            cases["dynamic_filter"][f"{size}, C = {c}, {taps} taps"] = (frame, rand(n, taps, parts, h, w, seed=1))
        cases["flow_projection"][size] = (_flow(n, h, w), rand(n, 1, h, w, seed=1).exp())
    frame = rand(2, 5, 9, 21)
    cases["backward_warp"]["far away"] = (frame, _flow(2, 9, 21, sigma=1e3))
    cases["adaptive_warp"]["far away"] = (frame, _flow(2, 9, 21, sigma=1e3), rand(2, 16, 9, 21))
    cases["flow_projection"]["all holes"] = (
        torch.full((1, 2, 6, 7), 100.0, dtype=torch.float64),
        frame[:1, :1, :6, :7].exp(),
    )
    cases["flow_projection"]["many holes"] = (_flow(1, 40, 50, sigma=30), rand(1, 1, 40, 50).exp())
    cases["flow_projection"]["whole pixels"] = (rand(1, 2, 9, 40).round(), rand(1, 1, 9, 40).exp())
    cases["backward_warp"]["channels last"] = (frame.contiguous(memory_format=LAST), _flow(2, 9, 21))
    cases["adaptive_warp"]["parts of larger maps"] = (
        rand(2, 9, 12, 30)[:, ::2, 1:10, 5:26],
        _flow(2, 9, 42)[..., ::2],
        rand(2, 4, 9, 21).contiguous(memory_format=LAST),
    )
    cases["correlation"]["channels last"] = (frame.contiguous(memory_format=LAST), rand(2, 5, 9, 21, seed=1), 2)
    return cases


CASES = _cases()
ALL = [(op, name) for op, cases in CASES.items() for name in cases]


def tensors(arguments: tuple[object, ...], dtype: torch.dtype) -> list[Tensor]:
    """The tensors among the arguments, in this dtype; strides are kept."""
    return [a.to(dtype) for a in arguments if isinstance(a, Tensor)]


def numbers(arguments: tuple[object, ...]) -> list[int]:
    return [a for a in arguments if isinstance(a, int)]
