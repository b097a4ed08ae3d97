"""Latents as bytes: range coding by tables of whole numbers.

Symbols are grouped by their table, tables in ascending order, and within a group symbols keep their order. So each
group is coded in one call of the range coder (constriction), by one distribution. docs/rfv.md describes the bytes.

The first and the last symbol of a table stand for all values beyond as well. By how much a value is beyond follows
after all groups: a number e >= 0 as the length n of e + 1 in binary, less one, and then the n bits after its first one.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import constriction
import numpy as np
import torch
from torch import Tensor

from refilm.layers.entropy_models import TOTAL

LENGTHS = 24  # of numbers beyond a table, in bits: larger ones do not occur


class Tables:
    """Distributions of whole numbers.

    counts   int32 [R, K], TOTAL in each row; the place in the middle of a row is that of the value 0
    """

    def __init__(self, counts: Tensor) -> None:
        self._counts = counts.cpu().numpy()

    @cached_property
    def _models(self) -> list[tuple[int, int, Any]]:
        """For each row, the least and the greatest symbol, and the distribution of constriction."""
        middle, found = self._counts.shape[1] // 2, []
        for row in self._counts:
            first, *_, last = np.flatnonzero(row)
            shares = row[first : last + 1].astype(np.float64) / TOTAL
            model = constriction.stream.model.Categorical(shares, perfect=False)
            found.append((int(first) - middle, int(last) - middle, model))
        return found

    def encode(self, encoder: Any, values: Tensor, rows: Tensor) -> None:
        """Append whole numbers to what a range encoder has. Both have the same shape; rows are those of the table."""
        numbers, groups = values.cpu().numpy().ravel().astype(np.int32), _groups(rows)
        beyond: list[int] = []
        for row, places in groups:
            least, most, model = self._models[row]
            own = numbers[places]
            encoder.encode(own.clip(least, most) - least, model)
            beyond += np.where(own <= least, least - own, own - most)[(own <= least) | (own >= most)].tolist()
        for number in beyond:
            _encode_number(encoder, number)

    def decode(self, decoder: Any, rows: Tensor) -> Tensor:
        """The inverse of `encode`: whole numbers of the shape of `rows`, int64.

        Bytes that are damaged give other numbers, or ValueError.
        """
        try:
            return self._decode(decoder, rows)
        except AssertionError as error:  # of constriction's, about the data
            raise ValueError("the bytes are damaged") from error

    def _decode(self, decoder: Any, rows: Tensor) -> Tensor:
        out = np.empty(rows.numel(), np.int64)
        ends: list[tuple[int, int]] = []  # places of values that may lie beyond, and on which side
        for row, places in _groups(rows):
            least, most, model = self._models[row]
            own = decoder.decode(model, len(places)) + least
            out[places] = own
            ends += [
                (int(places[n]), -1 if own[n] == least else 1) for n in np.flatnonzero((own <= least) | (own >= most))
            ]
        for place, side in ends:
            out[place] += side * _decode_number(decoder)
        return torch.from_numpy(out).view(rows.shape)


def _groups(rows: Tensor) -> list[tuple[int, np.ndarray]]:
    """The places of each row that occurs, in order."""
    flat = rows.cpu().numpy().ravel()
    order = np.argsort(flat, kind="stable")
    found, starts = np.unique(flat[order], return_index=True)
    return list(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def _encode_number(encoder: Any, number: int) -> None:
    length = min((number + 1).bit_length() - 1, LENGTHS - 1)
    encoder.encode(np.array([length], np.int32), constriction.stream.model.Uniform(LENGTHS))
    if length:
        rest = min(number + 1, (1 << LENGTHS) - 1) - (1 << length)
        encoder.encode(np.array([rest], np.int32), constriction.stream.model.Uniform(1 << length))


def _decode_number(decoder: Any) -> int:
    length = int(decoder.decode(constriction.stream.model.Uniform(LENGTHS), 1)[0])
    if not length:
        return 0
    return int(decoder.decode(constriction.stream.model.Uniform(1 << length), 1)[0]) + (1 << length) - 1


def range_encoder() -> Any:
    return constriction.stream.queue.RangeEncoder()


def range_decoder(data: bytes) -> Any:
    """Of the bytes that `compressed` gave."""
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)


def compressed(encoder: Any) -> bytes:
    """What a range encoder was given: 32-bit words, little-endian."""
    return bytes(encoder.get_compressed().astype("<u4").tobytes())
