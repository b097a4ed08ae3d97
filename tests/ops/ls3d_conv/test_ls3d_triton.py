"""Are the Triton kernels the reference? See `triton_runs`."""

import pytest
import torch
from ops.ls3d_conv.cases import CASES, LAST, Case
from ops.triton_runs import DEVICE, needs_interpreter, run_in_interpreter, starts_interpreter
from tolerance import TOLERANCE

from refilm.ops.ls3d_conv import reference, triton_kernel

pytestmark = pytest.mark.skipif(not triton_kernel.available, reason=triton_kernel.reason)
GRADIENTS = ("x", "weight", "offset", "importance")
# the interpreter takes seconds for what a GPU does in no time
SMALL = {
    name: CASES[name]
    for name in (
        "one pixel",
        "3x1x1",
        "5x3x1 of nothing round",
        "stride",
        "dilation in time",
        "groups",
        "channels last",
    )
}
SMALL["two blocks"] = Case(size=(1, 3, 4), kernel=(1, 3, 1), padding=(0, 1, 0), channels=70, outputs=130, x_format=LAST)


@starts_interpreter
def test_in_the_interpreter() -> None:
    run_in_interpreter(__file__)


@needs_interpreter
@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_are_the_reference(case: Case, dtype: torch.dtype) -> None:
    x, weight, offset, importance, bias = (t.to(DEVICE) for t in case.tensors(dtype))
    out = triton_kernel.forward(x, weight, offset, importance, bias, case.geometry)
    expected = reference.ls3d_conv(x, weight, offset, importance, bias, case.geometry)
    torch.testing.assert_close(out, expected, **TOLERANCE[dtype])
    assert out.is_contiguous(memory_format=case.x_format)
    grad = torch.randn_like(out)
    inputs = (x, weight, offset, importance)
    wanted = reference.ls3d_conv_backward(grad, *inputs, case.geometry)
    for name, found, want in zip(GRADIENTS, triton_kernel.backward(grad, *inputs, case.geometry), wanted, strict=True):
        scale = want.abs().max().clamp(min=1)
        torch.testing.assert_close(found / scale, want / scale, **TOLERANCE[dtype], msg=lambda m, n=name: f"{n}: {m}")


@needs_interpreter
def test_non_finite_pixels_do_not_leak() -> None:
    case = Case(size=(1, 3, 4), kernel=(1, 1, 1), padding=(0, 0, 0))
    x, weight, offset, importance, _ = (t.to(DEVICE) for t in case.tensors())
    offset.zero_()
    x[..., 1, 1] = torch.inf
    out = triton_kernel.forward(x, weight, offset, importance, None, case.geometry)
    assert (~out.isfinite().all(1)[0, 0]).nonzero().tolist() == [[1, 1]]
    offset[..., 2, 2] = torch.nan
    out = triton_kernel.forward(x, weight, offset, importance, None, case.geometry)
    assert (out[..., 2, 2] == 0).all()
