"""Is what `refilm doctor` says about the operators true, and is no operator missing?"""

from pathlib import Path
from unittest import mock

import pytest
import torch
from ops.ls3d_conv.cases import Case

from refilm import ops
from refilm.ops import Kernel, native
from refilm.ops.kernels import WITH_KERNELS
from refilm.ops.ls3d_conv import cpu
from refilm.ops.ls3d_conv import op as ls3d_conv


def record(op: str, device: str) -> Kernel:
    (found,) = [k for k in ops.kernels() if (k.op, k.device) == (op, device)]
    return found


def test_there_is_a_record_for_every_operator_on_both_devices() -> None:
    operators = set(ops.__all__) - {"Kernel", "kernels"}
    assert [(k.op, k.device) for k in ops.kernels()] == [(op, d) for op in sorted(operators) for d in ("cpu", "cuda")]


def test_a_new_operator_appears_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "__all__", [*ops.__all__, "census"])
    for device in ("cpu", "cuda"):
        assert record("census", device) == Kernel("census", device, "reference", "no kernel of its own: plain torch")


def test_a_reason_is_given_exactly_where_the_reference_serves() -> None:
    assert all((k.serves == "reference") == bool(k.reason) for k in ops.kernels())


def test_every_folder_of_kernels_says_what_serves() -> None:
    # an operator is a folder from its first kernel on
    assert {path.parent.name for path in Path(ops.__file__).parent.glob("*/__init__.py")} == set(WITH_KERNELS)


def test_what_is_said_to_serve_the_cpu_is_what_runs() -> None:
    case = Case(size=(1, 2, 3), channels=1, outputs=1)
    with mock.patch.object(cpu, "forward", wraps=cpu.forward) as forward:
        ops.ls3d_conv(*case.tensors(), **case.arguments)
    said = record("ls3d_conv", "cpu")
    assert said.serves == (f"native ({native.isas[0]})" if forward.called else "reference")


@pytest.mark.parametrize("missing", ["", "Triton cannot be loaded: no module"])
@pytest.mark.parametrize("has_device", [True, False])
def test_triton_serves_where_it_is_registered_and_a_device_is_found(
    missing: str, has_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ls3d_conv.NO_KERNEL, "cuda", missing)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_device)
    said = record("ls3d_conv", "cuda")
    if missing:
        assert (said.serves, said.reason) == ("reference", missing)
    elif has_device:
        assert (said.serves, said.reason) == ("triton", "")
    else:
        assert (said.serves, said.reason) == ("reference", "PyTorch finds no CUDA device")
