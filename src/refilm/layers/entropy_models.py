"""Entropy models of learned codecs: how probable each value of a latent is, and tables of integers for coding it.

Sources  the factorised model: Ballé et al., "Variational Image Compression with a Scale Hyperprior", ICLR 2018, arXiv
         1802.01436, appendix 6.1; the Gaussian one: the same, section 3; gains, one vector for each quality: Cui et
         al., "Asymmetric Gained Deep Image Compression with Continuous Rate Adaptation", CVPR 2021, arXiv 2003.02012.

Training computes probabilities in floating point. Coding uses tables of whole numbers, TOTAL altogether for each
distribution, which are made once when a training ends and are part of the weight file: all machines code by the same.
A row of a table has an odd number of places, and the place in the middle stands for 0. The first and the last symbol
with a count stand for their value and for all values beyond, see `refilm.models.bits`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOTAL = 1 << 16  # what the counts of a distribution add up to
LEAST_PROBABILITY = 1e-9  # in training, so that the number of bits stays finite
TRUST = 50.0  # see `fitted_counts`
BEYOND = 2.0**-13  # what is more improbable than this altogether, on each side, is coded as lying beyond a table

# The standard deviations that a Gaussian may have: SCALES of them, evenly spaced in their logarithm.
SCALES = 64
LEAST_SCALE, MOST_SCALE = 0.11, 64.0
SCALE_STEP = math.log(MOST_SCALE / LEAST_SCALE) / (SCALES - 1)
GAUSSIAN_REACH = 255  # largest symbol in the tables of Gaussians
FACTORIZED_REACH = 127  # the same for the factorised model


class Bounded(torch.autograd.Function):
    """`clamp`, whose gradient still leads back inside from beyond a bound."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (x,), (low, high) = gradients, ctx.saved_tensors, ctx.bounds
        passes = ((x >= low) | (gradient < 0)) & ((x <= high) | (gradient > 0))
        return gradient * passes, None, None


def bits_of(probability: Tensor) -> Tensor:
    """The bits that latents of these probabilities take, for each of the N. [N, ...] -> [N]"""
    return -Bounded.apply(probability, LEAST_PROBABILITY, 1.0).log2().flatten(1).sum(1)


def noisy(x: Tensor) -> Tensor:
    """What stands for rounding in training, where the rate is concerned: uniform noise of one step (Ballé 2017)."""
    return x + torch.rand_like(x) - 0.5


def rounded(x: Tensor) -> Tensor:
    """`round`, with the gradient of the identity."""
    return x + (x.round() - x).detach()


class Gains(nn.Module):
    """For each quality, a factor on each channel of a latent before it is rounded, and another one after it.

    The smaller the factor, the coarser the channel is quantised. At first both follow from the trade-off alone: the
    step of a quantiser is proportional to 1 / sqrt(lambda).

    lambdas   the trade-off of each quality, ascending
    channels  of the latent
    step      at first, of the quantiser in the middle of the qualities
    """

    def __init__(self, lambdas: Sequence[float], channels: int, step: float) -> None:
        super().__init__()
        middle = math.exp(sum(map(math.log, lambdas)) / len(lambdas))
        start = torch.tensor([0.5 * math.log(value / middle) - math.log(step) for value in lambdas])
        self.log_before = nn.Parameter(start[:, None].repeat(1, channels))
        self.log_after = nn.Parameter(-start[:, None].repeat(1, channels))

    def before(self, quality: Tensor) -> Tensor:
        """The factors before rounding. quality: [N], indices -> [N, C, 1, 1]"""
        return self.log_before[quality].exp()[:, :, None, None]

    def after(self, quality: Tensor) -> Tensor:
        """The factors after rounding, about the inverse. quality: [N], indices -> [N, C, 1, 1]"""
        return self.log_after[quality].exp()[:, :, None, None]


class FactorizedModel(nn.Module):
    """A distribution of its own for each channel, the same at all places; its cumulative distribution is a network.

    channels  C
    start     about the spread of the distributions at first
    """

    WIDTHS = (1, 3, 3, 3, 1)

    def __init__(self, channels: int, start: float = 10.0) -> None:
        super().__init__()
        steps = len(self.WIDTHS) - 1
        scale = start ** (1 / steps)
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(self.WIDTHS):
            value = math.log(math.expm1(1 / scale / after))
            self.matrices.append(nn.Parameter(torch.full((channels, after, before), value)))
            self.biases.append(nn.Parameter(torch.rand(channels, after, 1) - 0.5))
            if after != self.WIDTHS[-1]:
                self.factors.append(nn.Parameter(torch.zeros(channels, after, 1)))

    def logits(self, x: Tensor) -> Tensor:
        """The logits of the cumulative distributions (6.1, equations 7 to 10). [C, 1, K] -> same shape"""
        with torch.autocast(x.device.type, enabled=False):  # probabilities are small differences of these
            for step, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
                x = torch.baddbmm(bias, F.softplus(matrix), x)
                if step < len(self.factors):
                    x = x + self.factors[step].tanh() * x.tanh()
        return x

    def probability(self, x: Tensor, step: Tensor | None = None) -> Tensor:
        """The probability of values that were rounded, or had noise added. [N, C, H, W] -> same shape

        step   [N, C, 1, 1], the width of a quantiser's step in units of the distribution; None: 1
        """
        wide = x.new_ones(1) if step is None else step
        ends = torch.stack(((x - 0.5) * wide, (x + 0.5) * wide))  # [2, N, C, H, W]
        flat = ends.movedim(2, 0).flatten(1)[:, None]  # [C, 1, 2 * N * H * W]
        low, high = self.logits(flat).view(x.shape[1], 2, -1).unbind(1)
        # in the tail where both are small, so that differences of numbers near 1 do not lose their digits
        sign = -(low + high).sign().detach()
        found = ((sign * high).sigmoid() - (sign * low).sigmoid()).abs()
        return found.view(x.shape[1], x.shape[0], *x.shape[2:]).movedim(0, 1)

    @torch.no_grad()
    def counts(self, step: Tensor | None = None) -> Tensor:
        """The tables of all channels. [C] -> int32 [C, 2 * FACTORIZED_REACH + 1]

        step   [C], as for `probability`
        """
        reach = FACTORIZED_REACH
        symbols = torch.arange(-reach, reach + 1, dtype=torch.float64)
        wide = torch.ones(1, 1) if step is None else step.cpu()[:, None]
        exact = FactorizedModel(len(self.biases[0])).double()
        exact.load_state_dict(self.state_dict())
        edges = torch.cat((symbols - 0.5, symbols[-1:] + 0.5)) * wide.double()
        below = exact.logits(edges.expand(len(self.biases[0]), -1)[:, None])[:, 0].sigmoid()  # [C, 2 * reach + 2]
        return torch.stack([counts_of(row) for row in below])


@torch.no_grad()
def gaussian_counts() -> Tensor:
    """The tables of zero-mean Gaussians with the standard deviations of `scale_of`. -> [SCALES, 2 * 255 + 1] int32"""
    scales = scale_of(torch.arange(SCALES, dtype=torch.float64))
    edges = torch.arange(-GAUSSIAN_REACH, GAUSSIAN_REACH + 2, dtype=torch.float64) - 0.5
    return torch.stack([counts_of(torch.special.ndtr(edges / scale)) for scale in scales])


def counts_of(below: Tensor) -> Tensor:
    """A table of integers from a cumulative distribution at the edges between symbols. [K + 1] -> int32 [K]

    Together they have TOTAL. The first and the last symbol with a count have what lies beyond them as well, and with
    this less than BEYOND each, as far as the table reaches. There is no gap between symbols.
    """
    middle, most = len(below) // 2 - 1, len(below) - 2
    # to the symbols that have enough, and one more on either side, which says that a value lies beyond
    first = max(min([*(below[1:] >= BEYOND).nonzero().flatten().tolist(), middle]) - 1, 0)
    last = min(max([*(1 - below[:-1] >= BEYOND).nonzero().flatten().tolist(), middle]) + 1, most)
    ends = torch.cat((below.new_zeros(1), below[first + 1 : last + 1], below.new_ones(1)))
    shares = ends.diff().clamp(min=0)
    counts = (shares / shares.sum() * TOTAL).round().long().clamp(min=1)
    counts[counts.argmax()] += TOTAL - counts.sum()
    out = torch.zeros(len(below) - 1, dtype=torch.int32)
    out[first : last + 1] = counts.int()
    return out


def fitted_counts(counts: Tensor, seen: Tensor) -> Tensor:
    """Tables that are closer to what was seen. int32 [R, K], and how often each symbol was seen, [R, K] -> int32 [R, K]

    The former tables count as TRUST observations of each row. What was seen beyond a table's ends is theirs.
    """
    out = torch.zeros_like(counts)
    for row, (own, often) in enumerate(zip(counts.cpu(), seen.double().cpu(), strict=True)):
        there = own.nonzero().flatten()
        first, last = int(there[0]), int(there[-1])
        inside = often[first : last + 1].clone()
        inside[0] += often[:first].sum()
        inside[-1] += often[last + 1 :].sum()
        shares = inside + TRUST * own[first : last + 1].double() / TOTAL
        fitted = (shares / shares.sum() * TOTAL).round().long().clamp(min=1)
        fitted[fitted.argmax()] += TOTAL - fitted.sum()
        out[row, first : last + 1] = fitted.int().to(out.device)
    return out


def scale_of(index: Tensor) -> Tensor:
    """The standard deviation that an index of a Gaussian stands for, which need not be whole."""
    return LEAST_SCALE * (SCALE_STEP * index).exp()


def gaussian_probability(y: Tensor, index: Tensor) -> Tensor:
    """The probability of y, rounded or with noise added, in a zero-mean Gaussian (section 3). Same shapes throughout.

    index   as for `scale_of`
    """
    scale, size = scale_of(index), y.abs()
    return torch.special.ndtr((0.5 - size) / scale) - torch.special.ndtr((-0.5 - size) / scale)
