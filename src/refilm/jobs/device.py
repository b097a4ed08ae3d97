"""The device that a user names, and the threads. Names are checked without loading torch, so that an error is quick."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from refilm.errors import UsageError

if TYPE_CHECKING:
    import torch


def check_device(name: str) -> str:
    """The kind of a device: "cuda" for "cuda:1". Raises UsageError if there is no device of that name."""
    found = re.fullmatch(r"(cpu|cuda)(?::(0|[1-9]\d*))?", name)
    if found is None:
        raise UsageError(f"no device is called {name!r}; there are cpu, cuda, cuda:1, ...")
    if found[1] == "cuda":
        _check_cuda(name, int(found[2] or 0))
    return found[1]


def device_of(name: str) -> torch.device:
    """The device of that name. Raises UsageError if there is no such device."""
    check_device(name)
    import torch

    return torch.device(name)


def use_threads(count: int | None) -> None:
    """Let models use so many processor cores; None: as many as they did."""
    if count is not None:
        import torch

        torch.set_num_threads(count)


@contextmanager
def with_threads(count: int | None) -> Iterator[None]:
    """A context in which models use so many processor cores; None: as many as they did. The program that calls a job
    goes on with as many as before."""
    if count is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_cuda(name: str, index: int) -> None:
    missing = f"{name}: this machine has no CUDA device that torch can use; leave out --device"
    if _is_cpu_build():
        raise UsageError(missing)
    import torch

    if not torch.cuda.is_available():
        raise UsageError(missing)
    last = torch.cuda.device_count() - 1
    if index > last:
        raise UsageError(f"{name}: the last CUDA device of this machine is cuda:{last}")


def _is_cpu_build() -> bool:
    """Whether torch is known to be built for processors alone, as its version.py says, which is read, not imported."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return False
    try:
        told = Path(torch.origin).with_name("version.py").read_text()
    except OSError:
        return False
    return all(re.search(rf"^{kind}\b.*= None$", told, re.MULTILINE) for kind in ("cuda", "hip"))
