"""Samples of manifolds of which the geodesics are known, or the truth between two samples.

All are made by formulas and seeds; the digits are those that scikit-learn ships (8x8, 1797 of them, from the UCI
repository: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", CC BY 4.0).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.errors import RefilmError

Part = Literal["train", "test"]


@dataclass(frozen=True)
class Samples:
    """Samples of a manifold, and what is known of each.

    samples   [N, *shape]
    places    [N, k]   coordinates on the manifold, in which a geodesic is a straight line; see each set
    kinds     [N]      which object or digit, 0 where there is one kind; between kinds there is no truth
    """

    samples: Tensor
    places: Tensor
    kinds: Tensor

    def __len__(self) -> int:
        return len(self.samples)


# --- surfaces -------------------------------------------------------------------------------------------------------

ROLL = (1.5 * math.pi, 4.5 * math.pi)  # the angles at which the roll begins and ends
ROLL_HEIGHT, ROLL_UNIT = 21.0, 4.0
CURVE_HALF, CURVE_HEIGHT = 1.5 * math.pi, 2.0


def swiss_roll(count: int, seed: int) -> Samples:
    """Points (u cos u, h, u sin u) / 4 with u and h drawn evenly, as scikit-learn's `make_swiss_roll`.

    It unrolls without distortion: `places` are (length of the spiral up to u, h) / 4, and the distance along the
    roll is their Euclidean distance.
    """
    random = np.random.default_rng(seed)
    u, h = random.uniform(*ROLL, count), random.uniform(0, ROLL_HEIGHT, count)
    return _surface(roll_at(u, h), np.stack([_spiral_length(u), h], 1) / ROLL_UNIT)


def roll_at(u: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The points of the roll at angles u and heights h."""
    return np.stack([u * np.cos(u), h, u * np.sin(u)], -1) / ROLL_UNIT


def s_curve(count: int, seed: int) -> Samples:
    """Points (sin u, h, sign(u) (cos u - 1)) with u and h drawn evenly, as scikit-learn's `make_s_curve`.

    u is the length along the curve, so `places` are (u, h).
    """
    random = np.random.default_rng(seed)
    u, h = random.uniform(-CURVE_HALF, CURVE_HALF, count), random.uniform(0, CURVE_HEIGHT, count)
    return _surface(curve_at(u, h), np.stack([u, h], 1))


def curve_at(u: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The points of the S-curve at lengths u and heights h."""
    return np.stack([np.sin(u), h, np.sign(u) * (np.cos(u) - 1)], -1)


def distance_to_surface(points: Tensor, name: str) -> Tensor:
    """The distance of points [N, 3] to the roll or the curve, found on 4000 places along it. -> [N]"""
    if name == "swiss-roll":
        angles = np.sqrt(np.linspace(ROLL[0] ** 2, ROLL[1] ** 2, 4000))  # nearly even along the spiral
        along, height, unit = roll_at(angles, np.zeros(4000)), ROLL_HEIGHT, ROLL_UNIT
    else:
        along, height, unit = curve_at(np.linspace(-CURVE_HALF, CURVE_HALF, 4000), np.zeros(4000)), CURVE_HEIGHT, 1.0
    beyond = points[:, 1] - points[:, 1].clamp(0, height / unit)
    curve = torch.from_numpy(along[:, [0, 2]]).float()
    # by differences, since the faster way is too coarse close to the surface
    flat = torch.cdist(points[:, [0, 2]], curve, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values
    return (flat.square() + beyond.square()).sqrt()


def _spiral_length(u: np.ndarray) -> np.ndarray:
    """The length of the spiral r = u from 0 to the angle u."""
    return 0.5 * (u * np.sqrt(1 + u**2) + np.arcsinh(u))


def _surface(points: np.ndarray, places: np.ndarray) -> Samples:
    kinds = torch.zeros(len(points), dtype=torch.long)
    return Samples(torch.from_numpy(points).float(), torch.from_numpy(places).float(), kinds)


# --- objects that turn ------------------------------------------------------------------------------------------------

SIDE = 24
TURN = 180.0  # degrees over which they turn
OBJECTS = ("key", "hammer", "arrow", "flag")
_FINE = 8  # they are drawn so many times larger, and reduced by averaging
_REACH = 16.0  # half of the side, in the unit in which they are drawn


def turning_objects(count: int, seed: int) -> Samples:
    """Drawn things, in colour before a plain ground, turned in the picture by an angle drawn from 0 to 180 degrees.

    A picture that turns moves at constant speed, so steps of equal length are steps of equal angle. `places` are
    angles in degrees, and `kinds` the object.
    """
    random = np.random.default_rng(seed)
    angles, kinds = random.uniform(0, TURN, count), random.integers(0, len(OBJECTS), count)
    pictures = [object_at(kind, angle) for kind, angle in zip(kinds, angles, strict=True)]
    return Samples(torch.stack(pictures), torch.from_numpy(angles).float()[:, None], torch.from_numpy(kinds))


def object_at(kind: int, degrees: float) -> Tensor:
    """A picture [3, 24, 24] of an object, turned counter-clockwise."""
    drawn = _drawn(OBJECTS[kind])
    middle = (drawn.shape[0] - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    turned = cv2.warpAffine(drawn, turn, drawn.shape[:2], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    small = torch.from_numpy(np.ascontiguousarray(turned)).permute(2, 0, 1).float() / 255
    # averaged with an overlap, so that an edge moves through a pixel evenly
    return F.avg_pool2d(small[None], 2 * _FINE, _FINE, padding=_FINE // 2, count_include_pad=False)[0, :, :SIDE, :SIDE]


@cache
def _drawn(name: str) -> np.ndarray:
    """An object, large, at angle 0. Coordinates are from the middle of the picture, which reaches to _REACH."""
    side, unit = SIDE * _FINE, SIDE * _FINE / (2 * _REACH)
    ground, body, mark = {
        "key": ((236, 232, 222), (60, 110, 190), (200, 60, 50)),
        "hammer": ((222, 234, 236), (70, 60, 60), (190, 130, 50)),
        "arrow": ((232, 228, 236), (40, 140, 90), (230, 170, 40)),
        "flag": ((238, 236, 224), (110, 80, 60), (210, 60, 90)),
    }[name]
    picture = np.full((side, side, 3), ground, np.uint8)

    def at(points: list[tuple[float, float]]) -> np.ndarray:
        return np.round((np.array(points) + _REACH) * unit).astype(np.int32)

    def box(left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(picture, [at([(left, top), (right, top), (right, bottom), (left, bottom)])], colour)

    if name == "key":
        cv2.circle(picture, at([(-6.5, 0)])[0].tolist(), round(5 * unit), body, -1)
        cv2.circle(picture, at([(-6.5, 0)])[0].tolist(), round(2 * unit), ground, -1)
        box(-2, -1.5, 12, 1.5, body)
        box(8, 1.5, 10.5, 6, mark)
        box(4, 1.5, 6, 4.5, mark)
    elif name == "hammer":
        box(-11, -1.5, 8, 1.5, mark)
        box(6, -8, 11, 5, body)
    elif name == "arrow":
        box(-11, -2, 4, 2, body)
        cv2.fillPoly(picture, [at([(3, -7), (12, 0), (3, 7)])], body)
        cv2.circle(picture, at([(-8, 5)])[0].tolist(), round(2.5 * unit), mark, -1)
    else:
        box(-12, -1, 12, 1, body)
        cv2.fillPoly(picture, [at([(12, 1), (2, 1), (4, 9), (12, 8)])], mark)
    return picture


# --- digits -----------------------------------------------------------------------------------------------------------

SLANT = 30.0  # degrees, from upright
_TEST_EVERY = 5


def digits(part: Part) -> Samples:
    """The digits that scikit-learn ships, [N, 1, 8, 8] in [0, 1]; every fifth is for the test. `kinds` are the digits.

    `places` are empty: there is no truth between two of them. Raises RefilmError without scikit-learn.
    """
    pictures, kinds = _digits()
    chosen = torch.arange(len(kinds)) % _TEST_EVERY == 0
    chosen = chosen if part == "test" else ~chosen
    return Samples(pictures[chosen], torch.empty(int(chosen.sum()), 0), kinds[chosen])


def slanted_digits(part: Part, seed: int, copies: int = 1) -> Samples:
    """The same at 16x16, slanted by an angle drawn from 0 to 30 degrees; `places` are tan(slant) of each.

    A row moves in proportion to tan(slant), so this is the coordinate in which a slant is uniform.
    copies   of each digit, at slants of their own
    """
    upright = digits(part)
    pictures, kinds = upright.samples.repeat(copies, 1, 1, 1), upright.kinds.repeat(copies)
    random = torch.Generator().manual_seed(seed)
    slants = torch.rand(len(kinds), generator=random) * math.tan(math.radians(SLANT))
    return Samples(slanted(pictures, slants), slants[:, None], kinds)


def slanted(pictures: Tensor, slants: Tensor) -> Tensor:
    """Digits [N, 1, 8, 8] at 16x16, with rows moved by slants [N] = tan(angle), to the right above the middle."""
    large = F.interpolate(F.pad(pictures, (1, 1, 0, 0)), (16, 20), mode="bicubic").clamp(0, 1)
    centres = (torch.arange(16) + 0.5) / 8 - 1
    rows = -centres[None, :, None].expand(len(pictures), -1, 16)  # upwards
    columns = centres[None, None, :].expand_as(rows)
    # from the middle, a column of the result is 16 / 20 of one of the source
    sampled = torch.stack([(columns - slants[:, None, None] * rows) * 0.8, -rows], dim=3)
    return F.grid_sample(large, sampled, mode="bilinear", padding_mode="zeros", align_corners=False)


@cache
def _digits() -> tuple[Tensor, Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise RefilmError(
            "the digits ship with scikit-learn, which is not installed: pip install scikit-learn"
        ) from None
    found = load_digits()
    pictures = torch.from_numpy(found.images).float()[:, None] / 16
    return pictures, torch.from_numpy(found.target).long()


# --- the table --------------------------------------------------------------------------------------------------------


def _of_seed(make: Callable[[int, int], Samples], train: int, test: int) -> Callable[[Part], Samples]:
    return lambda part: make(*((train, 0) if part == "train" else (test, 1)))


SETS: dict[str, Callable[[Part], Samples]] = {
    "swiss-roll": _of_seed(swiss_roll, 4000, 1000),
    "s-curve": _of_seed(s_curve, 4000, 1000),
    "objects": _of_seed(turning_objects, 2000, 300),
    "digits": digits,
    "slant": lambda part: slanted_digits(part, *((0, 4) if part == "train" else (1, 1))),
}
