"""Inputs for the tests of LS3D-Conv: one description, and the tensors and geometry it stands for."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from refilm.ops.ls3d_conv.reference import Geometry, Triple, output_size


@dataclass(frozen=True)
class Case:
    size: Triple = (3, 5, 7)  # T, H, W
    kernel: Triple = (3, 3, 3)
    stride: Triple = (1, 1, 1)
    padding: Triple = (1, 1, 1)
    dilation: Triple = (1, 1, 1)
    groups: int = 1
    channels: int = 16  # of each group, in and out below
    outputs: int = 16
    batch: int = 1
    x_format: torch.memory_format = torch.contiguous_format
    offset_format: torch.memory_format = torch.contiguous_format
    spread: float = 1.5  # sigma of the offsets, pixels

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.stride, self.padding, self.dilation, self.groups)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def tensors(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, ...]:
        """x, weight, offset, importance, bias."""
        g = torch.Generator().manual_seed(seed)
        out = output_size(self.size, self.kernel, self.stride, self.padding, self.dilation)
        taps = prod(self.kernel)
        c, o = self.channels * self.groups, self.outputs * self.groups
        x = torch.randn(self.batch, c, *self.size, generator=g)
        weight = torch.randn(o, self.channels, *self.kernel, generator=g) / (self.channels * taps) ** 0.5
        offset = torch.randn(self.batch, 2 * taps, *out, generator=g) * self.spread
        importance = torch.rand(self.batch, taps, *out, generator=g)
        bias = torch.randn(o, generator=g)
        return (
            x.to(dtype).contiguous(memory_format=self.x_format),
            weight.to(dtype),
            offset.to(dtype).contiguous(memory_format=self.offset_format),
            importance.to(dtype).contiguous(memory_format=self.offset_format),
            bias.to(dtype),
        )


LAST = torch.channels_last_3d

CASES = {
    "plain": Case(),
    "one pixel": Case(size=(1, 1, 1)),
    "odd map": Case(size=(2, 17, 33), channels=8, outputs=8, batch=2),
    "1x3x3": Case(kernel=(1, 3, 3), padding=(0, 1, 1)),
    "3x1x1": Case(kernel=(3, 1, 1), padding=(1, 0, 0), channels=64, outputs=64),
    "5x3x1 of nothing round": Case(kernel=(5, 3, 1), padding=(2, 1, 0), channels=7, outputs=3),
    "stride": Case(stride=(1, 2, 2), size=(3, 8, 9)),
    "stride in time": Case(stride=(2, 1, 1), size=(5, 4, 6)),
    "dilation": Case(dilation=(1, 2, 2), padding=(1, 2, 2)),
    "dilation in time": Case(dilation=(2, 1, 1), padding=(2, 1, 1), size=(5, 4, 6)),
    "no padding": Case(padding=(0, 0, 0), size=(4, 6, 8)),
    "padding beyond the clip": Case(padding=(3, 2, 2)),
    "groups": Case(groups=3, channels=5, outputs=6),
    "one channel a group": Case(groups=8, channels=1, outputs=1),
    "unrolled channels": Case(channels=32, outputs=40, x_format=LAST),
    "channels last": Case(x_format=LAST, offset_format=LAST, batch=2),
    "bf16 blocks and a rest": Case(channels=49, outputs=20, x_format=LAST),
    "one number in, one out": Case(channels=1, outputs=1),
    "far offsets": Case(spread=50.0),
}
