"""Is the kernel the reference? Outputs and every gradient by name, for each instruction set this machine has."""

from math import prod
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.ls3d_conv.cases import CASES, LAST, Case
from tolerance import TOLERANCE

from refilm.ops import native
from refilm.ops.ls3d_conv import cpu, reference

pytestmark = pytest.mark.skipif(not native.available, reason=native.reason)
GRADIENTS = ("x", "weight", "offset", "importance")


@pytest.fixture(params=native.isas)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(native, "isas", [request.param])
    return request.param


def assert_parity(case: Case, seed: int = 0) -> None:
    """Against the reference in float64, where its own rounding is out of the picture."""
    x, weight, offset, importance, bias = case.tensors(seed=seed)
    exact = [t.double() for t in (x, weight, offset, importance, bias)]
    expected = reference.ls3d_conv(*exact, case.geometry)
    out = cpu.forward(x, weight, offset, importance, bias, case.geometry)
    torch.testing.assert_close(out.double(), expected, **TOLERANCE[torch.float32])
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    expected_grads = reference.ls3d_conv_backward(grad.double(), *exact[:4], case.geometry)
    grads = cpu.backward(grad, x, weight, offset, importance, case.geometry)
    for name, found, wanted in zip(GRADIENTS, grads, expected_grads, strict=True):
        scale = wanted.abs().max().clamp(min=1)
        torch.testing.assert_close(
            found / scale,
            wanted / scale,
            check_dtype=False,
            **TOLERANCE[torch.float32],
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernel_is_the_reference(case: Case, isa: str) -> None:
    assert_parity(case)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bfloat16_kernel_is_the_reference(case: Case, isa: str) -> None:
    tensors = case.tensors(torch.bfloat16)
    out = cpu.forward(*tensors, case.geometry)
    torch.testing.assert_close(out, reference.ls3d_conv(*tensors, case.geometry), **TOLERANCE[torch.bfloat16])


axis = st.tuples(st.sampled_from([1, 3, 5]), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.integers(0, 6))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    axes=st.tuples(axis, axis, axis),
    groups=st.integers(1, 3),
    channels=st.integers(1, 36),
    outputs=st.integers(1, 36),
    batch=st.integers(1, 2),
    formats=st.tuples(*[st.sampled_from([torch.contiguous_format, LAST])] * 2),
    seed=st.integers(0, 99),
    isa=st.sampled_from(native.isas or ["none"]),
)
def test_kernel_is_the_reference_for_any_shape(axes, groups, channels, outputs, batch, formats, seed, isa) -> None:
    kernel, stride, padding, dilation, extra = (tuple(values) for values in zip(*axes, strict=True))
    smallest = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    size = tuple(n + e for n, e in zip(smallest, extra, strict=True))
    case = Case(size, kernel, stride, padding, dilation, groups, channels, outputs, batch, *formats)
    with mock.patch.object(native, "isas", [isa]):
        assert_parity(case, seed)
        tensors = case.tensors(torch.bfloat16, seed)
        out = cpu.forward(*tensors, case.geometry)
    torch.testing.assert_close(out, reference.ls3d_conv(*tensors, case.geometry), **TOLERANCE[torch.bfloat16])


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_results_do_not_depend_on_the_number_of_threads(frames: int, isa: str) -> None:
    case = Case(size=(frames, 19, 40), channels=8, outputs=24, x_format=LAST)
    *inputs, bias = case.tensors()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            out = cpu.forward(*inputs, bias, case.geometry)
            found.append((out, *cpu.backward(torch.ones_like(out), *inputs, case.geometry)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("poison", [torch.inf, torch.nan])
@pytest.mark.parametrize("kernel", ["native", "reference"])
def test_non_finite_pixels_reach_only_outputs_that_sample_them(poison: float, kernel: str) -> None:
    case = Case(size=(1, 6, 40), kernel=(1, 1, 1), padding=(0, 0, 0))
    x, weight, offset, importance, _ = case.tensors()
    offset.zero_()
    offset[..., 0, 0] = -1.0  # a sample above the map
    offset[..., 5, 3] = 0.25  # between the last row and outside
    x[..., 2, 20] = x[..., 0, 0] = poison
    importance[..., 2, 21] = 0
    forward = cpu.forward if kernel == "native" else reference.ls3d_conv
    backward = cpu.backward if kernel == "native" else reference.ls3d_conv_backward
    out = forward(x, weight, offset, importance, None, case.geometry)
    bad = ~out.isfinite().all(1)[0, 0]
    assert bad.nonzero().tolist() == [[2, 20]]
    x[..., 2, 20] = 0  # leaves only the pixel that nobody samples
    out = forward(x, weight, offset, importance, None, case.geometry)
    for name, grad in zip(
        GRADIENTS, backward(torch.ones_like(out), x, weight, offset, importance, case.geometry), strict=True
    ):
        assert grad.isfinite().all(), name


def test_a_position_that_is_no_number_samples_nothing() -> None:
    case = Case()
    x, weight, offset, importance, bias = case.tensors()
    offset[..., 2, 2] = torch.nan
    out = cpu.forward(x, weight, offset, importance, bias, case.geometry)
    torch.testing.assert_close(out[..., 2, 2], bias.view(1, -1, 1).expand(1, -1, 3))
    torch.testing.assert_close(
        out, reference.ls3d_conv(x, weight, offset, importance, bias, case.geometry), **TOLERANCE[torch.float32]
    )


def test_other_types_get_the_reference_and_empty_batches_work() -> None:
    case = Case(size=(2, 3, 4), channels=2, outputs=3)
    assert "float64" in cpu.why_reference(case.tensors(torch.float64)[0])
    x, weight, offset, importance, bias = case.tensors()
    out = cpu.forward(x[:0], weight, offset[:0], importance[:0], bias, case.geometry)
    assert out.shape == (0, 3, 2, 3, 4)
    assert prod(cpu.backward(out, x[:0], weight, offset[:0], importance[:0], case.geometry)[1].shape) == weight.numel()
