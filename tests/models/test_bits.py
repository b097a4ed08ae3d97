import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refilm.layers.entropy_models import SCALES, TOTAL, gaussian_counts, gaussian_probability
from refilm.models.bits import Tables, compressed, range_decoder, range_encoder


def through(tables, values, rows):
    encoder = range_encoder()
    tables.encode(encoder, values, rows)
    data = compressed(encoder)
    return tables.decode(range_decoder(data), rows), data


@pytest.fixture(scope="module")
def gaussians():
    return Tables(gaussian_counts())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 400), st.floats(0, 3))
def test_whatever_is_written_is_read(seed, count, power):
    random = np.random.default_rng(seed)
    values = torch.from_numpy((random.normal(size=count) * 10**power).round().astype(np.int64))
    rows = torch.from_numpy(random.integers(0, SCALES, count))
    tables = Tables(gaussian_counts())
    found, _ = through(tables, values, rows)
    assert torch.equal(found, values)


def test_values_far_beyond_a_table_are_exact(gaussians):
    values = torch.tensor([0, 1, -1, 300, -300, 70_000, -70_000, 5_000_000])
    for row in (0, 20, SCALES - 1):
        found, _ = through(gaussians, values, torch.full_like(values, row))
        assert torch.equal(found, values)


def test_bits_are_as_many_as_the_distribution_says(gaussians):
    """To a percent: constriction's precision is 2^-24, and the tables' 2^-16."""
    torch.manual_seed(0)
    rows = torch.randint(0, SCALES, (40_000,))
    scales = 0.11 * (64 / 0.11) ** (rows.double() / (SCALES - 1))
    values = (scales * torch.randn(rows.shape, dtype=torch.float64)).round()
    estimated = float(-gaussian_probability(values, rows.double()).log2().sum())
    _, data = through(gaussians, values, rows)
    assert 8 * len(data) == pytest.approx(estimated, rel=0.01)


def test_what_is_surely_zero_takes_no_bytes_to_speak_of(gaussians):
    zeros = torch.zeros(100_000)
    _, data = through(gaussians, zeros, torch.zeros(100_000, dtype=torch.long))
    assert len(data) <= 4


class PlainDecoder:
    """The range decoder as docs/rfv.md describes it, in whole numbers of Python."""

    def __init__(self, data):
        self.words = [int.from_bytes(data[n : n + 4], "little") for n in range(0, len(data), 4)]
        self.lower, self.range = 0, (1 << 64) - 1
        self.point = self._word() << 32 | self._word()

    def _word(self):
        return self.words.pop(0) if self.words else 0

    def symbol(self, counts):
        """A symbol of a distribution with these counts, TOTAL together."""
        free, left, before = (1 << 24) - len(counts), [], 0
        for number, count in enumerate(counts):
            left.append((before * free >> 16) + number)
            before += count
        left.append(1 << 24)
        return self._cut(left)

    def uniform(self, size):
        each = (1 << 24) // size
        return self._cut([each * number for number in range(size)] + [1 << 24])

    def _cut(self, left):
        scale = self.range >> 24
        place = ((self.point - self.lower) % (1 << 64)) // scale
        symbol = max(n for n in range(len(left) - 1) if left[n] <= place)
        self.lower = (self.lower + scale * left[symbol]) % (1 << 64)
        self.range = scale * (left[symbol + 1] - left[symbol])
        if self.range < 1 << 32:
            self.lower, self.range = (self.lower << 32) % (1 << 64), self.range << 32
            self.point = (self.point << 32 | self._word()) % (1 << 64)
        return symbol


def test_a_decoder_written_by_the_documentation_reads_the_same(gaussians):
    torch.manual_seed(1)
    counts = gaussian_counts()
    rows = torch.randint(0, SCALES, (600,))
    values = (torch.randn(600) * 40 * (rows / SCALES) ** 4).round().long()
    values[::97] = 1234
    _, data = through(gaussians, values, rows)
    plain, found = PlainDecoder(data), torch.empty(600, dtype=torch.long)
    ends = []
    for row in sorted(set(rows.tolist())):
        there = counts[row].nonzero().flatten()
        least, most = int(there[0]) - counts.shape[1] // 2, int(there[-1]) - counts.shape[1] // 2
        for place in (rows == row).nonzero().flatten().tolist():
            value = least + plain.symbol(counts[row][there].tolist())
            found[place] = value
            if value in (least, most):
                ends.append((place, -1 if value == least else 1))
    for place, side in ends:
        length = plain.uniform(24)
        found[place] += side * ((plain.uniform(1 << length) if length else 0) + (1 << length) - 1)
    assert torch.equal(found, values)
    assert math.log2(TOTAL) == 16


def test_damaged_bytes_end_in_numbers_or_an_error_and_not_in_a_crash(gaussians):
    random = np.random.default_rng(0)
    rows = torch.from_numpy(random.integers(0, SCALES, 500))
    for length in (0, 3, 8, 64, 1001):
        found = gaussians.decode(range_decoder(random.bytes(length)), rows)
        assert found.shape == rows.shape
