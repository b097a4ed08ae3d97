"""Blending along motion: the kernel against the definition, and the laws it must keep."""

import pytest
import torch
from ops.map_cases import rand
from tolerance import TOLERANCE
from torch import Tensor

from refilm.ops import motion_blend, native
from refilm.ops.motion_blend.op import OPERATOR
from refilm.ops.motion_blend.reference import motion_blend as reference

SETTINGS = (0.3, 1, 2.0, 0.1, 8.0)  # time, steps, occlusion, floor, border
SIZES = [(1, 2), (5, 1), (3, 4), (5, 33), (17, 64), (19, 70)]
needs_kernel = pytest.mark.skipif(not native.available, reason=native.reason)


def inputs(height: int, width: int, n: int = 1, length: int = 4, sigma: float = 2.0) -> tuple[Tensor, Tensor]:
    return rand(2, n, 4, height, width, sigma=sigma, seed=1), rand(n, 3, length, height, width)


@needs_kernel
@pytest.mark.parametrize("isa", native.isas)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_kernel_is_the_reference(
    size: tuple[int, int], steps: int, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "isas", [isa])
    time, _, *others = SETTINGS
    # where motion varies by more than a pixel from one to the next, each step multiplies the rounding of the one before
    motion, clip = inputs(*size, n=2, length=2 + 2 * (steps % 2), sigma=2.0 if steps < 2 else 0.3)
    found = motion_blend(motion.float(), clip.float(), time, steps, *others)
    wanted = reference(motion, clip, time, steps, *others, 0, size[0])
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), wanted, **TOLERANCE[torch.float32])


@needs_kernel
def test_the_kernel_serves_float32_and_the_reference_the_rest() -> None:
    motion, clip = inputs(6, 9)
    assert OPERATOR.has_kernel([motion.float(), clip.float()])
    assert not OPERATOR.has_kernel([motion, clip])
    torch.testing.assert_close(motion_blend(motion, clip, *SETTINGS), reference(motion, clip, *SETTINGS, 0, 6))


def test_without_motion_it_blends() -> None:
    _, clip = inputs(7, 20, length=2)
    clip = clip.float()
    out = motion_blend(torch.zeros(2, 1, 4, 7, 20), clip, *SETTINGS)
    torch.testing.assert_close(out, torch.lerp(clip[:, :, 0], clip[:, :, 1], SETTINGS[0]))


def test_a_uniform_motion_is_followed_from_both_frames() -> None:
    ramp = torch.arange(40.0).expand(1, 3, 8, 40)
    clip, motion = torch.stack((ramp, ramp - 6), dim=2), torch.zeros(2, 1, 4, 8, 40)
    motion[0, :, 0], motion[1, :, 0] = 6, -6
    out = motion_blend(motion, clip, *SETTINGS)
    torch.testing.assert_close(out[..., 8:-8], ramp[..., 8:-8] - 6 * SETTINGS[0])


def test_rows_are_those_of_the_whole() -> None:
    motion, clip = (t.float() for t in inputs(19, 70, n=2))
    whole = motion_blend(motion, clip, *SETTINGS)
    assert torch.equal(motion_blend(motion, clip, *SETTINGS, rows=(5, 12)), whole[:, :, 5:12])


@needs_kernel
def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    motion, clip = (t.float() for t in inputs(90, 200, sigma=4))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append(motion_blend(motion, clip, *SETTINGS))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(other, found[0]) for other in found[1:])


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan, 1e30])
def test_motion_that_is_no_number_harms_its_neighbours_at_most(bad: float) -> None:
    _, clip = inputs(6, 40)
    motion = torch.zeros(2, 1, 4, 6, 40)
    motion[0, 0, 0, 2, 3] = bad
    wrong = ~motion_blend(motion, clip.float(), *SETTINGS).isfinite().all(1)[0]
    wrong[1:4, 2:5] = False
    assert not wrong.any()


def test_its_gradients_are_those_of_the_reference() -> None:
    given = [t.float().requires_grad_() for t in inputs(5, 9)]
    found, wanted = motion_blend(*given, *SETTINGS), reference(*given, *SETTINGS, 0, 5)
    for mine, want in zip(
        torch.autograd.grad(found.sum(), given), torch.autograd.grad(wanted.sum(), given), strict=True
    ):
        torch.testing.assert_close(mine, want)


def test_the_operator_is_registered_as_pytorch_wants_it() -> None:
    given = [t.float().requires_grad_() for t in inputs(3, 4)]
    torch.library.opcheck(torch.ops.refilm.motion_blend.default, (*given, *SETTINGS, 0, 3))


@pytest.mark.parametrize(
    ("motion", "clip", "rows", "message"),
    [
        ((2, 1, 4, 5, 6), (1, 3, 3, 5, 6), None, "T even"),
        ((2, 1, 2, 5, 6), (1, 3, 2, 5, 6), None, "motion must be"),
        ((2, 1, 4, 5, 6), (1, 3, 2, 5, 6), (3, 3), "rows must lie"),
    ],
)
def test_bad_input_is_named(motion: tuple, clip: tuple, rows: tuple[int, int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        motion_blend(torch.zeros(motion), torch.zeros(clip), *SETTINGS, rows=rows)
