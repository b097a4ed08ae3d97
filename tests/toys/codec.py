"""A codec: what has changed since the last picture, in codes of 8 bit, squeezed by zlib."""

from __future__ import annotations

import struct
import zlib

import torch
from torch import Tensor, nn

from refilm.models.contract import Codec

_SIZE = struct.Struct(">HH")


class Squeeze(nn.Module, Codec):
    """Exact to half a code, but for colours beyond RGB in [0, 1]. It codes its key pictures itself."""

    task = "compression"
    window, reach, recurrent = 1, None, True
    levels = 255

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self._before: Tensor | None = None

    @property
    def decoded(self) -> Tensor:
        assert self._before is not None
        return self._before / 255

    def compress(self, frame: Tensor, quality: int = 1, effort: int = 0) -> bytes:
        codes = (255 * frame).round().to(torch.int16)
        change = codes if self._before is None else codes - self._before
        self._before = codes
        return _SIZE.pack(*codes.shape[1:]) + zlib.compress(change.numpy().tobytes())

    def decompress(self, data: bytes) -> Tensor:
        height, width = _SIZE.unpack_from(data)
        samples = bytearray(zlib.decompress(data[_SIZE.size :]))
        change = torch.frombuffer(samples, dtype=torch.int16).view(3, height, width)
        self._before = change if self._before is None else self._before + change
        return self._before / 255
