"""What is measured of the ways from one sample to another: their speed, their length, and where the truth is known, it.

Compared are the learned curve (`geodesic`) and the straight line between the same codes, each as it is and at moments
between which it covers equal lengths (`respaced`), and the cross-fade of the samples. `refilm morph` shows the learned
curve respaced. The straight line respaced shows what the course of the curve adds to its speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refilm.data.manifolds import (
    SETS,
    SLANT,
    TURN,
    Samples,
    digits,
    distance_to_surface,
    object_at,
    slanted,
)
from refilm.models.geodesic import Geodesic
from refilm.models.spaces import evenly

MOMENTS = 65  # at which a curve is seen, both ends included
SURFACES = ("swiss-roll", "s-curve")
_SHORTEST = {"swiss-roll": 5.0, "s-curve": 2.5, "objects": 60.0}  # ways measured, in the unit of `Samples.places`
_CHUNK = 16  # curves at a time


@dataclass(frozen=True)
class Pairs:
    """Two samples each, between which a way is measured.

    first, second    [P, *shape]
    places           [P, 2, k]   their places on the manifold, see `Samples`; the truth runs straight between them
    kinds            [P]
    upright          slants: [P, 1, 8, 8], the digits of which the truth is made
    """

    first: Tensor
    second: Tensor
    places: Tensor
    kinds: Tensor
    upright: Tensor | None = None

    def __len__(self) -> int:
        return len(self.first)


class Seen(NamedTuple):
    """A way as it is seen: `samples` [P, T, *shape] at moments spread evenly over [0, 1], and |dx/dt| [P, T]."""

    samples: Tensor
    speed: Tensor


def held_out_pairs(name: str, count: int, held: Samples | None = None, seed: int = 0) -> Pairs:
    """Pairs of samples that no training has seen: of a set of `data.manifolds.SETS`, or any two of `held`.

    Surfaces: far apart on the surface. Objects: the same one, turned by 60 degrees or more. Digits: any two. Slanted
    digits: the same digit upright and slanted by 30 degrees, the two domains of a translation.
    """
    random = torch.Generator().manual_seed(seed)
    if name == "slant":
        test = digits("test")
        few = torch.randperm(len(test), generator=random)[:count]
        ends = [torch.full((len(few),), tan) for tan in (0.0, math.tan(math.radians(SLANT)))]
        first, second = (slanted(test.samples[few], slants) for slants in ends)
        return Pairs(first, second, torch.stack(ends, dim=1)[..., None], test.kinds[few], test.samples[few])
    held = SETS[name]("test") if held is None else held
    first, second = (torch.randint(len(held), (200 * count,), generator=random) for _ in range(2))
    fits = first != second
    if name in _SHORTEST:
        fits &= held.kinds[first] == held.kinds[second]
        fits &= (held.places[first] - held.places[second]).norm(dim=1) >= _SHORTEST[name]
    first, second = first[fits][:count], second[fits][:count]
    places = torch.stack([held.places[first], held.places[second]], dim=1)
    return Pairs(held.samples[first], held.samples[second], places, held.kinds[first])


def geodesic(model: Geodesic, pairs: Pairs) -> Seen:
    """The learned curve."""
    return _decoded(model, pairs, is_straight=False)


def straight_codes(model: Geodesic, pairs: Pairs) -> Seen:
    """Linear interpolation of the codes."""
    return _decoded(model, pairs, is_straight=True)


def geodesic_respaced(model: Geodesic, pairs: Pairs) -> Seen:
    """The learned curve, at moments between which it covers equal lengths."""
    return _respaced(model, pairs, is_straight=False)


def straight_codes_respaced(model: Geodesic, pairs: Pairs) -> Seen:
    """Linear interpolation of the codes, at moments between which it covers equal lengths."""
    return _respaced(model, pairs, is_straight=True)


def _respaced(model: Geodesic, pairs: Pairs, is_straight: bool) -> Seen:
    times = torch.linspace(0, 1, MOMENTS)
    speeds = _decoded(model, pairs, is_straight).speed
    moments = torch.stack([evenly(speed, times, MOMENTS) for speed in speeds])
    return with_speed_by_differences(_decoded(model, pairs, is_straight, moments))


def cross_fade(model: Geodesic, pairs: Pairs) -> Seen:
    """Linear interpolation of the samples themselves."""
    times = torch.linspace(0, 1, MOMENTS).view(1, -1, *[1] * (pairs.first.ndim - 1))
    return with_speed_by_differences(
        Seen(torch.lerp(pairs.first[:, None], pairs.second[:, None], times), torch.empty(0))
    )


WAYS: dict[str, Callable[[Geodesic, Pairs], Seen]] = {
    "geodesic": geodesic,
    "geodesic, respaced": geodesic_respaced,
    "straight codes": straight_codes,
    "straight codes, respaced": straight_codes_respaced,
    "cross-fade": cross_fade,
}


def with_speed_by_differences(seen: Seen) -> Seen:
    """With the speed by differences, for ways whose derivative is not at hand."""
    steps = seen.samples.flatten(2).diff(dim=1).norm(dim=2) * (seen.samples.shape[1] - 1)
    return seen._replace(speed=torch.cat([steps[:, :1], 0.5 * (steps[:, 1:] + steps[:, :-1]), steps[:, -1:]], dim=1))


@torch.no_grad()
def _decoded(model: Geodesic, pairs: Pairs, is_straight: bool, times: Tensor | None = None) -> Seen:
    moments = torch.linspace(0, 1, MOMENTS).expand(len(pairs), -1) if times is None else times
    samples, speed = [], []
    for first, second, at in zip(*(part.split(_CHUNK) for part in (pairs.first, pairs.second, moments)), strict=True):
        curve = model.curve(model.encode(first), model.encode(second), at, is_straight)
        samples.append(curve.samples)
        speed.append(curve.speed)
    return Seen(torch.cat(samples), torch.cat(speed))


def figures_of(name: str, pairs: Pairs, seen: Seen) -> dict[str, list[float]]:
    """What is measured of a way, one value a pair.

    variation     coefficient of variation of the speed |dx/dt|: standard deviation over t, divided by the mean
    length        L, in the unit of the samples
    length_ratio  surfaces: L / length of the geodesic on the surface
    off           surfaces: greatest distance of the way to the surface, as a share of L
    error         objects and slants: mean distance to the uniform truth, in degrees
    confidence    digits: what a classifier gives for the class that it finds, mean over the way
    """
    length = seen.speed[:, 1:].add(seen.speed[:, :-1]).mul(0.5).mean(dim=1)
    figures = {"variation": seen.speed.std(dim=1) / seen.speed.mean(dim=1), "length": length}
    if name in SURFACES:
        known = (pairs.places[:, 1] - pairs.places[:, 0]).norm(dim=1)
        figures["length_ratio"] = length / known
        off = distance_to_surface(seen.samples.flatten(0, 1), name).view(len(pairs), -1)
        figures["off"] = off.amax(dim=1) / known
    elif name in ("objects", "slant"):
        found = angles_of(name, pairs, seen.samples)
        times = torch.linspace(0, 1, found.shape[1])
        truth = torch.lerp(pairs.places[:, 0], pairs.places[:, 1], times)
        figures["error"] = (found - (truth if name == "objects" else truth.atan().rad2deg())).abs().mean(dim=1)
    elif name == "digits":
        figures["confidence"] = confidence(seen.samples.flatten(0, 1)).view(len(pairs), -1).mean(dim=1)
    return {key: values.tolist() for key, values in figures.items()}


def angles_of(name: str, pairs: Pairs, samples: Tensor) -> Tensor:
    """The angle of each picture in degrees: that at which the object, or the upright digit, looks most like it.

    [P, T, *shape] -> [P, T]
    """
    found = []
    for number, seen in enumerate(samples):
        if name == "objects":
            angles, known = _turned(int(pairs.kinds[number]))
        else:
            assert pairs.upright is not None
            angles, known = _slanted(pairs.upright[number])
        best = torch.cdist(seen.flatten(1), known.flatten(1)).argmin(dim=1)
        found.append(angles[best])
    return torch.stack(found)


@cache
def _turned(kind: int) -> tuple[Tensor, Tensor]:
    """An object at every degree, with some to spare on both sides."""
    angles = torch.arange(-30.0, TURN + 31)
    return angles, torch.stack([object_at(kind, float(angle)) for angle in angles])


def _slanted(upright: Tensor) -> tuple[Tensor, Tensor]:
    """A digit [1, 8, 8] at every half degree, with some to spare on both sides."""
    angles = torch.arange(-10.0, SLANT + 10.1, 0.5)
    return angles, slanted(upright.expand(len(angles), -1, -1, -1), angles.deg2rad().tan())


@cache
def classifier() -> Any:
    """scikit-learn's multi-layer perceptron, as it comes, taught the digits at 8x8 that spaces learn from."""
    from sklearn.neural_network import MLPClassifier

    known = digits("train")
    return MLPClassifier(random_state=0, max_iter=400).fit(known.samples.flatten(1).numpy(), known.kinds.numpy())


def confidence(pictures: Tensor) -> Tensor:
    """The share that the classifier gives to the digit that it finds. [N, 1, 8, 8] -> [N]"""
    return torch.from_numpy(classifier().predict_proba(pictures.flatten(1).double().numpy()).max(axis=1)).float()
