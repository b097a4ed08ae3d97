"""Checking the device that a user names."""

from __future__ import annotations

import torch

from refilm.errors import UsageError


def device_of(name: str) -> torch.device:
    """The device of that name, such as "cuda:1". Raises UsageError if there is no such device."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device is called {name!r}; there are cpu, cuda, cuda:1, ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"{name}: this machine has no CUDA device that torch can use; leave out --device")
    return device
