"""Is the operator what its page says, and do autograd, compile and autocast see it right?"""

from itertools import product
from math import floor

import pytest
import torch
import torch.nn.functional as F
from ops.ls3d_conv.cases import CASES, LAST, Case
from tolerance import TOLERANCE
from torch import Tensor

from refilm.ops import ls3d_conv

TINY = [
    Case(size=(2, 3, 4), channels=2, outputs=2),
    Case(
        size=(3, 3, 4),
        kernel=(3, 1, 1),
        padding=(1, 0, 0),
        stride=(2, 1, 1),
        groups=2,
        channels=1,
        outputs=2,
        x_format=LAST,
    ),
    Case(size=(1, 4, 5), kernel=(1, 3, 3), padding=(0, 2, 2), dilation=(1, 2, 2), channels=2, outputs=1),
]


def deform_conv2d(x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor, padding: int) -> Tensor:
    """Modulated deformable convolution of a frame [C, H, W], one number at a time, from its definition."""
    (c, h, w), (o, _, kh, kw) = x.shape, weight.shape
    out = torch.zeros(o, *offset.shape[1:], dtype=x.dtype)

    def pixel(channel: int, y: int, x_: int) -> float:
        return x[channel, y, x_].item() if 0 <= y < h and 0 <= x_ < w else 0.0

    for o_, y, x_, i, j, channel in product(
        range(o), range(out.shape[1]), range(out.shape[2]), range(kh), range(kw), range(c)
    ):
        tap = i * kw + j
        v = y - padding + i + offset[2 * tap, y, x_].item()
        u = x_ - padding + j + offset[2 * tap + 1, y, x_].item()
        v0, u0 = floor(v), floor(u)
        sample = sum(
            (1 - abs(v - a)) * (1 - abs(u - b)) * pixel(channel, a, b) for a in (v0, v0 + 1) for b in (u0, u0 + 1)
        )
        out[o_, y, x_] += weight[o_, channel, i, j] * importance[tap, y, x_] * sample
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_one_frame_it_is_deformable_convolution(dtype: torch.dtype) -> None:
    case = Case(size=(1, 5, 6), kernel=(1, 3, 3), padding=(0, 1, 1), channels=2, outputs=3)
    x, weight, offset, importance, _ = case.tensors(dtype)
    expected = deform_conv2d(x[0, :, 0], weight[:, :, 0], offset[0, :, 0], importance[0, :, 0], padding=1)
    out = ls3d_conv(x, weight, offset, importance, **case.arguments)
    torch.testing.assert_close(out[0, :, 0], expected, **TOLERANCE[dtype])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_without_offsets_it_is_a_convolution(case: Case) -> None:
    x, weight, offset, importance, bias = case.tensors()
    out = ls3d_conv(x, weight, offset.zero_(), importance.fill_(1), bias, **case.arguments)
    torch.testing.assert_close(out, F.conv3d(x, weight, bias, **case.arguments), **TOLERANCE[torch.float32])


def test_offsets_move_along_height_first_then_width() -> None:
    x = torch.zeros(1, 1, 1, 5, 5)
    x[..., 3, 1] = 1
    offset = torch.zeros(1, 2, 1, 5, 5)
    offset[:, 0], offset[:, 1] = 1, -2  # down one, left two
    out = ls3d_conv(x, torch.ones(1, 1, 1, 1, 1), offset, torch.ones(1, 1, 1, 5, 5))
    assert out.nonzero().tolist() == [[0, 0, 0, 2, 3]]


@pytest.mark.parametrize("case", TINY)
def test_gradcheck(case: Case) -> None:
    inputs = [t.requires_grad_() for t in case.tensors(torch.float64)]
    assert torch.autograd.gradcheck(lambda *a: ls3d_conv(*a, **case.arguments), inputs, fast_mode=True)


@pytest.mark.parametrize("case", TINY)
def test_opcheck(case: Case) -> None:
    inputs = [t.requires_grad_() for t in case.tensors()]
    g = case.geometry
    torch.library.opcheck(torch.ops.refilm.ls3d_conv.default, (*inputs, g.stride, g.padding, g.dilation, g.groups))


@pytest.mark.parametrize("x_format", [torch.contiguous_format, LAST])
def test_compiles_whole_and_keeps_the_format_of_x(x_format: torch.memory_format) -> None:
    case = Case(size=(2, 5, 6), channels=4, outputs=8, x_format=x_format)
    inputs = [t.requires_grad_() for t in case.tensors()]
    compiled = torch.compile(lambda *a: ls3d_conv(*a, **case.arguments).relu(), fullgraph=True)
    plain, out = ls3d_conv(*inputs, **case.arguments).relu(), compiled(*inputs)
    assert plain.is_contiguous(memory_format=x_format)
    torch.testing.assert_close(out, plain)
    for found, wanted in zip(
        torch.autograd.grad(out.sum(), inputs), torch.autograd.grad(plain.sum(), inputs), strict=True
    ):
        torch.testing.assert_close(found, wanted, **TOLERANCE[torch.float32])


def test_slices_are_read_where_they_are() -> None:
    case = Case(size=(2, 5, 20))
    x, weight, offset, importance, _ = case.tensors()
    both = torch.cat([offset, importance], 1).contiguous(memory_format=LAST)
    sliced = ls3d_conv(x, weight, both[:, :54], both[:, 54:], **case.arguments)
    torch.testing.assert_close(sliced, ls3d_conv(x, weight, offset, importance, **case.arguments))


def test_autocast_keeps_offsets_exact() -> None:
    case = Case(size=(1, 4, 40))
    x, weight, offset, importance, bias = case.tensors()
    with torch.autocast("cpu", torch.bfloat16):
        out = ls3d_conv(x, weight, offset, importance, bias, **case.arguments)
    assert out.dtype == torch.bfloat16
    exact = ls3d_conv(x, weight, offset, importance, bias, **case.arguments)
    torch.testing.assert_close(out.float(), exact, **TOLERANCE[torch.bfloat16])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(1, 16, 5, 7)}, r"x must be \[N, C, T, H, W\], got \[1, 16, 5, 7\]"),
        ({"weight": torch.zeros(16, 16, 3, 3)}, r"weight must be \[O, C/groups, kT, kH, kW\]"),
        ({"weight": torch.zeros(16, 8, 3, 3, 3)}, "does not fit 16 channels in 1 groups"),
        (
            {"offset": torch.zeros(1, 27, 3, 5, 7)},
            r"offset must be \[N, 2K, T', H', W'\] = \[1, 54, 3, 5, 7\], got \[1, 27",
        ),
        ({"importance": torch.zeros(1, 27, 3, 5, 8)}, r"importance must be \[N, K, T', H', W'\] = \[1, 27, 3, 5, 7\]"),
        ({"bias": torch.zeros(3)}, r"bias must be \[O\] = \[16\], got \[3\]"),
        ({"stride": (1, 2)}, r"stride must be one number or \(time, height, width\), got \[1, 2\]"),
        ({"stride": 0}, "stride, dilation and groups must be at least 1"),
        ({"padding": 0, "dilation": 9}, "is smaller than the kernel"),
        ({"weight": torch.zeros(16, 16, 3, 3, 3, dtype=torch.float64)}, r"did you mean weight.to\(x.dtype\)"),
    ],
)
def test_bad_input_is_told_what_was_wanted(change: dict, message: str) -> None:
    case = Case()
    arguments = dict(zip(("x", "weight", "offset", "importance", "bias"), case.tensors(), strict=True)) | case.arguments
    with pytest.raises(ValueError, match=message):
        ls3d_conv(**(arguments | change))
