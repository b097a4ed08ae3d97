"""Are the Triton kernels of the operators on maps their references? See `triton_runs`."""

from importlib import import_module

import pytest
import torch
from ops.map_cases import CASES, numbers, rand, tensors
from ops.triton_runs import DEVICE, needs_interpreter, run_in_interpreter, starts_interpreter
from tolerance import TOLERANCE
from torch import Tensor

from refilm.ops import triton_maps

pytestmark = pytest.mark.skipif(not triton_maps.available, reason=triton_maps.reason)
KERNELS = {name: import_module(f"refilm.ops.{name}.triton_kernel") for name in CASES}
OPERATORS = {name: import_module(f"refilm.ops.{name}.op").OPERATOR for name in CASES}
REFERENCES = {name: getattr(import_module(f"refilm.ops.{name}.reference"), name) for name in CASES}
# the interpreter takes seconds for what a GPU does in no time
SMALL = {
    "adaptive_warp": ("1x7, C = 3, R^2 = 16", "5x33, C = 1, R^2 = 4", "far away", "parts of larger maps"),
    "backward_warp": ("1x1, C = 1", "5x1, C = 3", "5x33, C = 6", "17x64, C = 1", "far away", "channels last"),
    "correlation": ("5x1, C = 1, radius 0", "3x4, C = 6, radius 3", "channels last"),
    "dynamic_filter": ("1x1, C = 1, 1 taps", "5x33, C = 1, 1 taps", "3x4, C = 6, 9 taps"),
    "flow_projection": ("1x1", "5x33", "all holes", "whole pixels", "many holes"),
}
EVERY = [(name, case) for name, cases in SMALL.items() for case in cases]


@starts_interpreter
def test_in_the_interpreter() -> None:
    run_in_interpreter(__file__)


def results(op, inputs: list[Tensor], extra: list[int]) -> list[Tensor]:
    found = op(*inputs, *extra)
    return [found] if isinstance(found, Tensor) else list(found)


def assert_near(found: Tensor, wanted: Tensor, what: str) -> None:
    """To within the rounding of sums whose terms are as large as the largest result."""
    scale = wanted.abs().max().clamp(min=1)
    close = {"msg": lambda m: f"{what}: {m}", **TOLERANCE[torch.float32]}
    torch.testing.assert_close(found.double() / scale, wanted / scale, **close)


def inputs_of(name: str, case: str, dtype: torch.dtype) -> list[Tensor]:
    return [t.to(DEVICE) for t in tensors(CASES[name][case], dtype)]


@needs_interpreter
@pytest.mark.parametrize(("name", "case"), EVERY)
def test_kernels_are_the_reference(name: str, case: str) -> None:
    """Results and every gradient, against the reference in float64, where its own rounding is out of the picture."""
    extra = numbers(CASES[name][case])
    inputs, exact = inputs_of(name, case, torch.float32), inputs_of(name, case, torch.float64)
    found, leaves = results(KERNELS[name].forward, inputs, extra), [t.requires_grad_() for t in exact]
    wanted = results(REFERENCES[name], leaves, extra)
    for number, (mine, want) in enumerate(zip(found, wanted, strict=True)):
        assert mine.dtype == torch.float32
        assert mine.is_contiguous()
        assert_near(mine, want.detach(), f"result {number}")
    grad = rand(*wanted[0].shape, seed=7).to(DEVICE)
    kept = [*inputs, *(found if name == "flow_projection" else [])]
    grads = KERNELS[name].backward(grad.float(), kept, extra, [True] * len(inputs))
    for number, (mine, want) in enumerate(zip(grads, torch.autograd.grad(wanted[0], leaves, grad), strict=True)):
        assert mine.is_contiguous()
        assert_near(mine, want, f"gradient {number}")


@needs_interpreter
@pytest.mark.parametrize("name", KERNELS)
def test_gradients_that_nobody_wants_are_not_computed(name: str) -> None:
    case = next(case for case in CASES[name] if case.startswith("3x4"))
    inputs, extra = inputs_of(name, case, torch.float32), numbers(CASES[name][case])
    found = results(KERNELS[name].forward, inputs, extra)
    kept = [*inputs, *(found if name == "flow_projection" else [])]
    grad = torch.ones_like(found[0])
    together = KERNELS[name].backward(grad, kept, extra, [True] * len(inputs))
    for number, want in enumerate(together):
        (alone,) = KERNELS[name].backward(grad, kept, extra, [i == number for i in range(len(inputs))])
        torch.testing.assert_close(alone, want, **TOLERANCE[torch.float32])


@needs_interpreter
@pytest.mark.parametrize("poison", [torch.inf, torch.nan])
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan, 1e30])
def test_no_number_harms_more_than_its_own_pixels(poison: float, bad: float) -> None:
    frame, flow = rand(1, 3, 6, 40).float().to(DEVICE), torch.full((1, 2, 6, 40), 0.25, device=DEVICE)
    flow[..., 2, 3] = bad
    frame[..., 4, 30] = poison
    out = KERNELS["backward_warp"].forward(frame, flow)
    wrong = ~out.isfinite().all(1)[0]
    assert set(map(tuple, wrong.nonzero().tolist())) == {(3, 29), (3, 30), (4, 29), (4, 30)}
    adapted = KERNELS["adaptive_warp"].forward(frame, flow, torch.ones(1, 4, 6, 40, device=DEVICE))
    wrong = ~adapted.isfinite().all(1)[0]
    assert wrong[:3, 4:].sum() == 0
    _, weights = KERNELS["flow_projection"].forward(flow, torch.ones(1, 1, 6, 40, device=DEVICE))
    assert (weights[0, 0, 1] > 0).all()


def test_the_operators_name_what_their_kernels_lack() -> None:
    for name, kernel in KERNELS.items():
        assert (
            OPERATORS[name].no_kernel["cuda"]
            == ("this PyTorch is built without CUDA", kernel.reason)[torch.version.cuda is not None]
        )
