"""Position-sensitive pooling: the kernel against the definition, and what depends on it."""

from __future__ import annotations

import pytest
import torch
from ops.map_cases import rand
from tolerance import TOLERANCE
from torch import Tensor

from refilm.ops import native, position_sensitive_pooling
from refilm.ops.position_sensitive_pooling.op import OPERATOR
from refilm.ops.position_sensitive_pooling.reference import position_sensitive_pooling as reference

needs_kernel = pytest.mark.skipif(not native.available, reason=native.reason)
SIZES = [(1, 1), (1, 7), (5, 1), (3, 4), (5, 33), (17, 64)]


def inputs(height: int, width: int, bins: int, channels: int, n: int = 2, regions: int = 9) -> tuple[Tensor, Tensor]:
    """Regions of all sizes, some of them beyond the map, and some without any extent."""
    middle = rand(n, regions, 2, sigma=0.5, seed=1) * torch.tensor([width, height]) + torch.tensor([width, height]) / 2
    half = rand(n, regions, 2, sigma=0.3, seed=2).abs() * torch.tensor([width, height])
    half[:, 0] = 0
    boxes = torch.cat([middle - half, middle + half], dim=2)
    return rand(n, bins * bins * channels, height, width), boxes


@needs_kernel
@pytest.mark.parametrize("isa", native.isas)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("bins", "channels"), [(1, 1), (3, 4), (7, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_kernel_is_the_reference(
    size: tuple[int, int], bins: int, channels: int, dtype: torch.dtype, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "isas", [isa])
    maps, boxes = inputs(*size, bins, channels)
    maps, boxes = maps.to(dtype), boxes.to(dtype)
    assert OPERATOR.has_kernel([maps, boxes])
    found = position_sensitive_pooling(maps, boxes, bins)
    assert found.dtype == dtype
    assert found.is_contiguous()
    # bins that are hardly longer than nothing are divided by their length
    torch.testing.assert_close(found[:, 1:], reference(maps, boxes, bins)[:, 1:], **TOLERANCE[dtype])
    torch.testing.assert_close(found[:, 0], reference(maps, boxes, bins)[:, 0], rtol=1e-2, atol=1e-2)


@needs_kernel
def test_boxes_that_are_no_numbers_do_no_harm() -> None:
    maps, boxes = inputs(5, 6, 3, 2)
    boxes[0, 1], boxes[0, 2], boxes[0, 3] = float("nan"), float("inf"), 1e30
    found = position_sensitive_pooling(maps.float(), boxes.float(), 3)
    assert found[1].isfinite().all()


@needs_kernel
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    maps, boxes = (each.float() for each in inputs(12, 20, 7, 4, regions=100))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append(position_sensitive_pooling(maps, boxes, 7))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, found[0]) for each in found)


def test_gradients_are_those_of_the_reference() -> None:
    for of in (position_sensitive_pooling, reference):
        maps, boxes = (each.requires_grad_() for each in inputs(4, 5, 2, 3))
        grads = torch.autograd.grad(of(maps, boxes, 2).square().sum(), (maps, boxes))
        if of is position_sensitive_pooling:
            wanted = grads
    for found, want in zip(grads, wanted, strict=True):
        torch.testing.assert_close(found, want)


def test_maps_in_half_precision_keep_it_and_boxes_theirs() -> None:
    maps, boxes = inputs(12, 20, 3, 2)
    found = position_sensitive_pooling(maps.bfloat16(), boxes.float(), 3)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found[:, 1:].double(), reference(maps, boxes, 3)[:, 1:], rtol=0.1, atol=0.05)


def test_the_operator_is_registered_as_pytorch_wants_it() -> None:
    maps, boxes = (each.float().requires_grad_() for each in inputs(3, 4, 2, 3))
    torch.library.opcheck(torch.ops.refilm.position_sensitive_pooling.default, (maps, boxes, 2))
    compiled = torch.compile(lambda m, b: position_sensitive_pooling(m, b, 2), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(maps, boxes), position_sensitive_pooling(maps, boxes, 2))
