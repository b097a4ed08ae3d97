"""Single random choices, from a generator that depends on a seed and a number, such as that of a training step."""

from __future__ import annotations

import math

import torch


def generator(seed: int, number: int) -> torch.Generator:
    """The generator for all choices of one step, or of one clip of a set."""
    return torch.Generator().manual_seed(seed * 1_000_003 + number)


def below(limit: int, random: torch.Generator) -> int:
    """A random integer from 0 to limit - 1."""
    return int(torch.randint(limit, (1,), generator=random))


def between(random: torch.Generator, low: float, high: float) -> float:
    """A random number, evenly distributed."""
    return low + (high - low) * float(torch.rand((), generator=random))


def log_between(random: torch.Generator, low: float, high: float) -> float:
    """A random number whose logarithm is evenly distributed."""
    return math.exp(between(random, math.log(low), math.log(high)))


def chance(random: torch.Generator, share: float) -> bool:
    """True with this probability."""
    return float(torch.rand((), generator=random)) < share
