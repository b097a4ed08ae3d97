"""A codec: what has changed since the last picture, in codes of 8 bit, squeezed by zlib."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from refilm.models.contract import Codec
from refilm.stages.demand import Demand
from refilm.stages.findings import Finding
from refilm.stages.stage import StreamShape
from refilm.video import Frame

_SIZE = struct.Struct(">HH")


class Squeeze(nn.Module, Codec):
    """Exact to half a code, also of colours that RGB cannot show and YCbCr can."""

    task = "compression"
    window, reach, recurrent = 1, None, True

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self._before: Tensor | None = None

    def compress(self, frame: Tensor) -> bytes:
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


@dataclass(frozen=True)
class Packet:
    """A `refilm.jobs.bitstream.Chunk`."""

    time: Fraction
    duration: Fraction
    is_key: bool
    data: bytes


class Compress:
    """Each frame's bytes; refers to no picture before its own first frame, or before a scene's."""

    keeps_rate = False
    past = future = 0
    findings: dict[str, Finding] = {}  # noqa: RUF012  # nothing to note

    def __init__(self, model: Codec) -> None:
        self._model, self._is_new = model, True

    def shape(self, source: StreamShape) -> StreamShape:
        return source

    def demands(self, source: StreamShape) -> list[Demand]:
        return [Demand("compress", held=2 * 12 * source.width * source.height)]

    def push(self, frame: Frame) -> Iterator[Packet]:
        is_key = self._is_new or frame.starts_scene
        if is_key:
            self._model.reset()
        self._is_new = False
        yield Packet(frame.time, frame.duration, is_key, self._model.compress(frame.rgb))

    def flush(self) -> Iterator[Packet]:
        self._is_new = True
        return iter(())
