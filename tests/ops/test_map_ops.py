"""The operators on maps: each against its definition, one number at a time, and the laws it must keep."""

from math import floor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import TOLERANCE

from refilm.ops import (
    adaptive_warp,
    backward_warp,
    correlation,
    dynamic_filter,
    flow_projection,
    off,
    position_sensitive_pooling,
)

EXACT = TOLERANCE[torch.float64]


def rand(*shape: int, sigma: float = 1.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * sigma


@settings(max_examples=25, deadline=None, derandomize=True)
@given(h=st.integers(1, 9), w=st.integers(1, 9), dx=st.integers(-3, 3), dy=st.integers(-3, 3))
def test_warping_by_whole_pixels_is_a_shift(h: int, w: int, dx: int, dy: int) -> None:
    frame = rand(1, 2, h, w)
    flow = torch.tensor([dx, dy], dtype=frame.dtype).view(1, 2, 1, 1).expand(1, 2, h, w)
    padded = F.pad(frame, (3, 3, 3, 3))
    expected = padded[..., 3 + dy : 3 + dy + h, 3 + dx : 3 + dx + w]
    torch.testing.assert_close(backward_warp(frame, flow), expected, **EXACT)


def test_half_precision_warps_to_a_fraction_of_a_pixel_far_from_the_corner() -> None:
    ramp = torch.linspace(0, 1, 601).expand(1, 1, 3, -1)
    flow = torch.zeros(1, 2, 3, 601)
    flow[:, 0] = 0.5
    out = backward_warp(ramp.bfloat16(), flow)
    torch.testing.assert_close(out[..., :-1].float(), ramp[..., :-1] + 0.5 / 600, **TOLERANCE[torch.bfloat16])


def test_off_is_the_papers_kernels_and_the_difference() -> None:
    earlier, later = rand(2, 3, 5, 7), rand(2, 3, 5, 7, seed=1)
    fx = torch.tensor([[-1.0, 0, 1]] * 3, dtype=torch.float64).expand(3, 1, 3, 3)
    fy = torch.tensor([[1.0] * 3, [0] * 3, [-1] * 3], dtype=torch.float64).expand(3, 1, 3, 3)
    spatial = [F.conv2d(earlier, kernel, padding=1, groups=3) for kernel in (fx, fy)]
    torch.testing.assert_close(off(earlier, later), torch.cat([*spatial, later - earlier], 1), **EXACT)


def test_adaptive_warp_is_its_definition() -> None:
    n, c, h, w, size = 1, 2, 5, 6, 4
    frame, flow, kernel = rand(n, c, h, w), rand(n, 2, h, w, sigma=2), rand(n, size * size, h, w)
    out = adaptive_warp(frame, flow, kernel)
    for y in range(h):
        for x in range(w):
            u = min(max(x + flow[0, 0, y, x].item(), 0), w - 1)
            v = min(max(y + flow[0, 1, y, x].item(), 0), h - 1)
            a, b, quadrants = u - floor(u), v - floor(v), torch.zeros(2, 2, c, dtype=frame.dtype)
            for j in range(size):
                for i in range(size):
                    row = min(max(floor(v) + 1 - size // 2 + j, 0), h - 1)
                    column = min(max(floor(u) + 1 - size // 2 + i, 0), w - 1)
                    quadrants[j // 2, i // 2] += kernel[0, j * size + i, y, x] * frame[0, :, row, column]
            (tl, tr), (bl, br) = quadrants
            expected = (1 - a) * (1 - b) * tl + a * (1 - b) * tr + (1 - a) * b * bl + a * b * br
            torch.testing.assert_close(out[0, :, y, x], expected, **EXACT)


def test_adaptive_warp_with_four_ones_is_bilinear_warping() -> None:
    frame = rand(1, 3, 8, 9)
    flow = torch.zeros(1, 2, 8, 9, dtype=frame.dtype)
    flow[..., 2:-2, 2:-2] = rand(1, 2, 4, 5).clamp(-1, 1)
    ones = torch.ones(1, 4, 8, 9, dtype=frame.dtype)
    torch.testing.assert_close(adaptive_warp(frame, flow, ones), backward_warp(frame, flow), **EXACT)


@pytest.mark.parametrize("weighted", [False, True])
def test_flow_projection_is_its_definition(weighted: bool) -> None:
    h, w = 6, 7
    flow = rand(1, 2, h, w, sigma=1.5)
    weight = rand(1, 1, h, w).exp() if weighted else None
    out, filled = flow_projection(flow, weight)
    given_ = [[[] for _ in range(w)] for _ in range(h)]
    for y in range(h):
        for x in range(w):
            dx, dy = flow[0, :, y, x].tolist()
            if 0 <= x + dx <= w - 1 and 0 <= y + dy <= h - 1:
                for row in (floor(y + dy), floor(y + dy) + 1):
                    for column in (floor(x + dx), floor(x + dx) + 1):
                        if row < h and column < w:
                            given_[row][column].append((1.0 if weight is None else weight[0, 0, y, x].item(), -dx, -dy))
    mean = {}
    for y in range(h):
        for x in range(w):
            assert filled[0, 0, y, x].item() == bool(given_[y][x])
            if given_[y][x]:
                total = sum(m for m, _, _ in given_[y][x])
                mean[y, x] = [sum(g[0] * g[k] for g in given_[y][x]) / total for k in (1, 2)]
    assert 0 < len(mean) < h * w
    for y in range(h):
        for x in range(w):
            rays = [
                [(y, i) for i in range(x - 1, -1, -1)],
                [(y, i) for i in range(x + 1, w)],
                [(j, x) for j in range(y - 1, -1, -1)],
                [(j, x) for j in range(y + 1, h)],
            ]
            near = [mean[next(p for p in ray if p in mean)] for ray in rays if any(p in mean for p in ray)]
            expected = mean.get((y, x)) or [sum(v) / len(near) for v in zip(*near, strict=True)]
            torch.testing.assert_close(out[0, :, y, x].tolist(), expected, **EXACT)


def test_correlation_is_its_definition() -> None:
    left, right = rand(1, 3, 4, 5), rand(1, 3, 4, 5, seed=1)
    out = correlation(left, right, radius=2)
    assert out.shape == (1, 25, 4, 5)
    for k, (j, i) in enumerate((j, i) for j in range(-2, 3) for i in range(-2, 3)):
        for y in range(4):
            for x in range(5):
                inside = 0 <= y + j < 4 and 0 <= x + i < 5
                expected = (left[0, :, y, x] * right[0, :, y + j, x + i]).mean().item() if inside else 0.0
                assert out[0, k, y, x].item() == pytest.approx(expected)


def test_dynamic_filter_is_its_definition() -> None:
    size, scale, h, w = 5, 2, 4, 3
    frame, filters = rand(1, 2, h, w), rand(1, size * size, scale * scale, h, w)
    padded = F.pad(frame, (2, 2, 2, 2))
    out = dynamic_filter(frame, filters)
    assert out.shape == (1, 2, scale * h, scale * w)
    for y in range(scale * h):
        for x in range(scale * w):
            window = padded[0, :, y // scale : y // scale + size, x // scale : x // scale + size].flatten(1)
            own = filters[0, :, y % scale * scale + x % scale, y // scale, x // scale]
            torch.testing.assert_close(out[0, :, y, x], window @ own, **EXACT)


def smooth(*shape: int) -> torch.Tensor:
    """A flow that stays away from whole pixels, where bilinear sampling has a kink."""
    return (rand(*shape, seed=3).clamp(-2, 2).floor() + 0.3).requires_grad_()


def test_position_sensitive_pooling_is_its_definition() -> None:
    bins, classes, h, w = 3, 2, 5, 7
    maps = rand(1, bins * bins * classes, h, w)
    box = torch.tensor([[[-0.7, 0.3, 5.6, 4.1], [2.25, 1.5, 2.75, 1.75]]], dtype=maps.dtype)
    out = position_sensitive_pooling(maps, box, bins)
    assert out.shape == (1, 2, classes, bins, bins)
    # the mean over many points of a bin, on a map that is constant within its places and zero beyond
    fine = 400
    for r in range(2):
        x0, y0, x1, y1 = box[0, r].tolist()
        for i in range(bins):
            for j in range(bins):
                share = (torch.arange(fine, dtype=maps.dtype) + 0.5) / fine
                xs = (x0 + (j + share) * (x1 - x0) / bins).floor().long()
                ys = (y0 + (i + share) * (y1 - y0) / bins).floor().long()
                inside = ((xs >= 0) & (xs < w)) & ((ys >= 0) & (ys < h)).unsqueeze(1)
                own = maps[0, (i * bins + j) * classes : (i * bins + j + 1) * classes]
                seen = own[:, ys.clamp(0, h - 1)][:, :, xs.clamp(0, w - 1)] * inside
                torch.testing.assert_close(out[0, r, :, i, j], seen.mean(dim=(1, 2)), rtol=0, atol=0.02)


def test_a_region_of_one_place_has_its_values_whatever_its_bins() -> None:
    maps = rand(2, 4 * 3, 5, 7)
    out = position_sensitive_pooling(maps, torch.tensor([[[3.0, 2.0, 4.0, 3.0]]] * 2, dtype=maps.dtype), 2)
    torch.testing.assert_close(out[:, 0].permute(0, 2, 3, 1).flatten(1), maps[:, :, 2, 3], **EXACT)


def test_a_region_without_extent_is_seen_where_it_is() -> None:
    maps = torch.ones(1, 4, 3, 3)
    out = position_sensitive_pooling(maps, torch.tensor([[[1.5, 1.5, 1.5, 1.5]]]), 2)
    torch.testing.assert_close(out, torch.ones(1, 1, 1, 2, 2))


GRADIENTS = {
    "backward_warp": (backward_warp, lambda: (rand(1, 2, 4, 5).requires_grad_(), smooth(1, 2, 4, 5))),
    "off": (off, lambda: (rand(1, 2, 3, 4).requires_grad_(), rand(1, 2, 3, 4, seed=1).requires_grad_())),
    "adaptive_warp": (
        adaptive_warp,
        lambda: (rand(1, 2, 4, 5).requires_grad_(), smooth(1, 2, 4, 5), rand(1, 16, 4, 5, seed=1).requires_grad_()),
    ),
    "correlation": (
        lambda a, b: correlation(a, b, 1),
        lambda: (rand(1, 2, 3, 4).requires_grad_(), rand(1, 2, 3, 4, seed=1).requires_grad_()),
    ),
    "position_sensitive_pooling": (
        lambda maps, boxes: position_sensitive_pooling(maps, boxes, 2),
        lambda: (
            rand(1, 8, 4, 5).requires_grad_(),
            torch.tensor([[[0.3, 0.6, 3.8, 3.1], [-1.2, 1.3, 2.1, 6.2]]], dtype=torch.float64).requires_grad_(),
        ),
    ),
    "dynamic_filter": (
        dynamic_filter,
        lambda: (rand(1, 2, 3, 3).requires_grad_(), rand(1, 9, 4, 3, 3, seed=1).requires_grad_()),
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradcheck(name: str) -> None:
    function, inputs = GRADIENTS[name]
    assert torch.autograd.gradcheck(function, inputs())


def test_flow_projection_differentiates_its_mean() -> None:
    flow, weight = smooth(1, 2, 4, 5), rand(1, 1, 4, 5).exp().requires_grad_()
    filled = flow_projection(flow, weight)[1]
    assert torch.autograd.gradcheck(lambda f, m: flow_projection(f, m)[0][filled.expand(-1, 2, -1, -1)], (flow, weight))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: backward_warp(z(1, 3, 4, 5), z(1, 4, 5, 2)), r"flow must be \[N, 2, H, W\] = \[1, 2, 4, 5\]"),
        (lambda z: off(z(1, 3, 4, 5), z(1, 3, 4, 4)), "of one shape"),
        (lambda z: position_sensitive_pooling(z(1, 10, 4, 5), z(1, 2, 4), 3), r"bins \* bins = 9, got \[1, 10, 4, 5\]"),
        (lambda z: position_sensitive_pooling(z(2, 9, 4, 5), z(1, 2, 4), 3), r"boxes must be \[N, R, 4\] with N = 2"),
        (lambda z: adaptive_warp(z(1, 3, 4, 5), z(1, 2, 4, 5), z(1, 9, 4, 5)), "with R even, got"),
        (lambda z: flow_projection(z(1, 3, 4, 5)), r"flow must be \[N, 2, H, W\], got"),
        (lambda z: flow_projection(z(1, 2, 4, 5), z(1, 2, 4, 5)), r"weight must be \[N, 1, H, W\]"),
        (lambda z: correlation(z(1, 3, 4, 5), z(1, 3, 4, 5), -1), "radius must be at least 0"),
        (lambda z: dynamic_filter(z(1, 3, 4, 5), z(1, 16, 4, 4, 5)), "with K odd, got"),
    ],
)
def test_bad_input_is_told_what_was_wanted(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.zeros)
