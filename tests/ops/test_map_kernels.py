"""Are the C++ kernels of the operators on maps their references, for every instruction set that this machine has?"""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from ops.map_cases import ALL, CASES, numbers, rand, tensors
from tolerance import TOLERANCE
from torch import Tensor

from refilm import ops
from refilm.ops import native
from refilm.ops.registration import Operator

pytestmark = pytest.mark.skipif(not native.available, reason=native.reason)
OPERATORS: dict[str, Operator] = {name: import_module(f"refilm.ops.{name}.op").OPERATOR for name in CASES}
REFERENCES = {name: getattr(import_module(f"refilm.ops.{name}.reference"), name) for name in CASES}


@pytest.fixture(params=native.isas)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(native, "isas", [request.param])
    return request.param


def results(op, inputs: list[Tensor], extra: list[int]) -> list[Tensor]:
    found = op(*inputs, *extra)
    return [found] if isinstance(found, Tensor) else list(found)


def gradients(op, inputs: list[Tensor], extra: list[int], grad: Tensor) -> tuple[Tensor, ...]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    return torch.autograd.grad(results(op, leaves, extra)[0], leaves, grad)


def assert_near(found: Tensor, wanted: Tensor, dtype: torch.dtype, what: str) -> None:
    """To within the rounding of sums whose terms are as large as the largest result."""
    scale = wanted.abs().max().clamp(min=1)
    torch.testing.assert_close(found.double() / scale, wanted / scale, **TOLERANCE[dtype], msg=lambda m: f"{what}: {m}")


@pytest.mark.parametrize(("name", "case"), ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_kernels_are_the_reference(name: str, case: str, dtype: torch.dtype, isa: str) -> None:
    """Results and every gradient, against the reference in float64, where its own rounding is out of the picture."""
    arguments = CASES[name][case]
    inputs, exact, extra = tensors(arguments, dtype), tensors(arguments, torch.float64), numbers(arguments)
    assert OPERATORS[name].has_kernel(inputs)
    wanted = results(REFERENCES[name], exact, extra)
    for number, (found, want) in enumerate(zip(results(OPERATORS[name], inputs, extra), wanted, strict=True)):
        assert found.dtype == dtype
        assert found.is_contiguous()
        assert_near(found, want, dtype, f"result {number}")
    grad = rand(*wanted[0].shape, seed=7)
    grads = gradients(OPERATORS[name], inputs, extra, grad.to(dtype))
    for number, (found, want) in enumerate(zip(grads, gradients(REFERENCES[name], exact, extra, grad), strict=True)):
        assert found.dtype == dtype
        assert_near(found, want, dtype, f"gradient {number}")


LARGE = {
    "adaptive_warp": lambda: (rand(1, 3, 90, 200), rand(1, 2, 90, 200, sigma=4), rand(1, 16, 90, 200)),
    "backward_warp": lambda: (rand(1, 3, 90, 200), rand(1, 2, 90, 200, sigma=4)),
    "correlation": lambda: (rand(1, 8, 40, 70), rand(1, 8, 40, 70, seed=1), 4),
    "dynamic_filter": lambda: (rand(1, 3, 40, 70), rand(1, 25, 16, 40, 70)),
    # PyTorch's index_put adds so many numbers in any order
    "flow_projection": lambda: (rand(1, 2, 90, 200, sigma=4), rand(1, 1, 90, 200).exp()),
}


@pytest.mark.parametrize("by", ["kernel", "reference"])
@pytest.mark.parametrize("name", LARGE)
def test_results_do_not_depend_on_the_number_of_threads(name: str, by: str) -> None:
    arguments = LARGE[name]()
    inputs, extra = tensors(arguments, torch.float32), numbers(arguments)
    op = OPERATORS[name] if by == "kernel" else REFERENCES[name]
    grad = torch.randn_like(results(op, inputs, extra)[0])
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7, 7):
            torch.set_num_threads(threads)
            # how PyTorch differentiates its references is its own affair
            grads = gradients(op, inputs, extra, grad) if by == "kernel" else ()
            found.append([*results(op, inputs, extra), *grads])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("name", LARGE)
def test_gradients_that_nobody_wants_are_not_computed_and_change_nothing(name: str) -> None:
    arguments = CASES[name][next(iter(reversed(CASES[name])))]
    inputs, extra = tensors(arguments, torch.float64), numbers(arguments)
    grad = torch.randn_like(results(OPERATORS[name], inputs, extra)[0])
    together = gradients(OPERATORS[name], inputs, extra, grad)
    for number, wanted in enumerate(together):
        leaves = [t.detach().requires_grad_(i == number) for i, t in enumerate(inputs)]
        out = results(OPERATORS[name], leaves, extra)[0]
        (found,) = torch.autograd.grad(out, [leaves[number]], grad)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("name", LARGE)
def test_other_types_get_the_reference_and_keep_their_type(name: str) -> None:
    arguments = CASES[name]["3x4, C = 3, R^2 = 16" if name == "adaptive_warp" else next(iter(CASES[name]))]
    inputs, extra = tensors(arguments, torch.bfloat16), numbers(arguments)
    assert not OPERATORS[name].has_kernel(inputs)
    for found, wanted in zip(
        results(OPERATORS[name], inputs, extra), results(REFERENCES[name], inputs, extra), strict=True
    ):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    grad = torch.ones_like(results(OPERATORS[name], inputs, extra)[0])
    assert all(g.dtype == torch.bfloat16 for g in gradients(OPERATORS[name], inputs, extra, grad))


@pytest.mark.parametrize("name", LARGE)
def test_empty_batches_work(name: str) -> None:
    arguments = next(iter(CASES[name].values()))
    inputs, extra = [t[:0] for t in tensors(arguments, torch.float32)], numbers(arguments)
    assert results(OPERATORS[name], inputs, extra)[0].shape[0] == 0


@pytest.mark.parametrize("name", LARGE)
def test_the_operator_is_registered_as_pytorch_wants_it(name: str) -> None:
    arguments = [a for a in CASES[name].values() if tensors(a, torch.float64)[0].shape[-1] == 4][-1]
    leaves = [t.requires_grad_() for t in tensors(arguments, torch.float32)]
    torch.library.opcheck(getattr(torch.ops.refilm, name).default, (*leaves, *numbers(arguments)))


def test_a_compiled_model_runs_the_kernels_with_their_gradients() -> None:
    frame, flow, kernel = (
        t.requires_grad_() for t in tensors(CASES["adaptive_warp"]["3x4, C = 3, R^2 = 16"], torch.float32)
    )

    def model(frame: Tensor, flow: Tensor, kernel: Tensor) -> Tensor:
        back, _ = ops.flow_projection(flow)
        return ops.adaptive_warp(frame, back, kernel) + ops.backward_warp(frame, back)

    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(frame, flow, kernel), model(frame, flow, kernel)
    torch.testing.assert_close(found, wanted)
    grads = [torch.autograd.grad(out.sum(), (frame, flow, kernel)) for out in (found, wanted)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("poison", [torch.inf, torch.nan])
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan, 1e30])
def test_no_number_harms_more_than_its_own_pixels(poison: float, bad: float) -> None:
    frame, flow = rand(1, 3, 6, 40).float(), torch.full((1, 2, 6, 40), 0.25)
    flow[..., 2, 3] = bad
    frame[..., 4, 30] = poison
    out = ops.backward_warp(frame, flow)
    wrong = ~out.isfinite().all(1)[0]
    assert set(map(tuple, wrong.nonzero().tolist())) == {(3, 29), (3, 30), (4, 29), (4, 30)}
    adapted = ops.adaptive_warp(frame, flow, torch.ones(1, 4, 6, 40))
    wrong = ~adapted.isfinite().all(1)[0]
    assert wrong[:3, 4:].sum() == 0
    _, filled = ops.flow_projection(flow)
    assert filled[0, 0, 1].all()
