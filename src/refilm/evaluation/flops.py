"""Counting the operations of a call: PyTorch's counter, extended by this package's own convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import refilm.layers.conv3d
import refilm.ops  # noqa: F401  # the operators below exist once these are loaded


def gflop(call: Callable[[], Any]) -> float:
    """The number of operations of a call, in units of 10^9; a multiply-add counts as two.

    Convolutions and matrix products are counted as by PyTorch's FlopCounterMode, and LS3D-Conv. Element-wise
    operations, warping and OpenCV are not counted.
    """
    own: dict[Any, Any] = {torch.ops.refilm.ls3d_conv: _ls3d, torch.ops.refilm.onednn_conv3d: _convolution}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        call()
    return counter.get_total_flops() / 1e9


def _convolution(x: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * prod(out_shape) * prod(weight[1:])


def _ls3d(x: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """The convolution, and for each tap and channel four multiply-adds that sample and weight the value."""
    places, taps = out_shape[0] * prod(out_shape[2:]), prod(weight[2:])
    return _convolution(x, weight, out_shape=out_shape) + 2 * 4 * places * taps * x[1]
