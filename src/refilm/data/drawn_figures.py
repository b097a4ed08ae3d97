"""Clips of an arm that draws a figure in the air, made from stills, with the figure as their label.

| label | what the fingertip does |
|---|---|
| left, right, up, down | one straight stroke |
| caret, tick | two strokes, as in the signs of that name |
| cross, square, star | two, four and five strokes; where they begin, and which way round, differs |
| circle | once round, either way, from anywhere |
| none | rests, trembles or wanders, or fingers open and close |

Those who draw in the air are not exact: strokes bend, speeds differ, there are pauses at corners and rests before and
after. Hands and arms differ in size, colour and place, and the camera may be held by hand. The fingertip is all that
counts. Everything is drawn from a given generator.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data.camera_motion import MadeClip, shot
from refilm.data.camera_paths import CameraPath, view
from refilm.data.draws import below, between, chance, log_between

# The corners of figures, (x, y), x to the right and y downwards, within [-1, 1].
_CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "left": ((1, 0), (-1, 0)),
    "right": ((-1, 0), (1, 0)),
    "up": ((0, 1), (0, -1)),
    "down": ((0, -1), (0, 1)),
    "caret": ((-0.8, 0.8), (0, -0.9), (0.8, 0.8)),
    "tick": ((-0.8, 0.0), (-0.25, 0.8), (0.9, -0.8)),
    "cross": ((-0.8, -0.9), (0.8, 0.9), (0.8, -0.9), (-0.8, 0.9)),
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "star": tuple((math.sin(0.8 * math.pi * n), -math.cos(0.8 * math.pi * n)) for n in range(5)),
}
LABELS = ("caret", "circle", "cross", "down", "left", "none", "right", "square", "star", "tick", "up")

_SECONDS = 1.6, 6.5  # that drawing takes
_REST = 0.25  # longest rest before and after, as a share of the whole
_INEXACT, _BEND, _LEAN = 0.07, 0.06, 9.0  # of corners, of strokes relative to their length, of figures in degrees
_MOMENTS = 13  # points of a stroke
_FINGERS = 4  # that open and close, where nothing is drawn


@dataclass(frozen=True)
class DrawnFigures:
    """Draws labelled clips.

    stills   [3, H, W] each, uint8: what is behind the arm
    """

    stills: Sequence[Tensor]
    labels = LABELS

    def seconds(self, random: torch.Generator, _: Fraction) -> Fraction:
        """How long the next clip lasts, in seconds."""
        return Fraction(log_between(random, *_SECONDS)).limit_denominator(1000)

    def draw(self, random: torch.Generator, times: Tensor, height: int, width: int, label: str = "") -> MadeClip:
        """A clip whose frames are shown at `times`, [T], of a random label, if none is given.

        The figure is drawn between the first of the times and the last, however long that is.
        """
        label = label or LABELS[below(len(LABELS), random)]
        share = (times - times.min()) / (times.max() - times.min()).clamp(min=1e-6)
        tip = _on_picture(random, fingertip(random, label, share), height, width)
        scene = self._behind(random, times - times.min(), height, width)
        opening = label == "none" and chance(random, 0.5)
        frames = _with_arm(random, scene.transpose(0, 1), tip, opening)
        return MadeClip(shot(random, frames).clamp(0, 1).transpose(0, 1), label)

    def _behind(self, random: torch.Generator, times: Tensor, height: int, width: int) -> Tensor:
        """A part of a still, seen by a camera that stands or is held by hand. -> [3, T, height, width]"""
        still = self.stills[below(len(self.stills), random)].float() / 255
        if chance(random, 0.5):
            still = still.flip(2)
        scale = max(height / still.shape[1], width / still.shape[2]) * between(random, 1.05, 1.8)
        size = [max(round(scale * side), 2) for side in still.shape[1:]]
        still = F.interpolate(still[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
        places = torch.rand(2, generator=random) - 0.5
        centre = [(s - 1) / 2 + float(p) * max(s - v, 0) for s, p, v in zip(size, places, (height, width), strict=True)]
        swing = between(random, 0, 0.02) * height if chance(random, 0.4) else 0.0
        towards, pace = between(random, 0, 2 * math.pi), between(random, 1, 8)
        path = CameraPath(
            (centre[1], centre[0]), swing=(swing * math.cos(towards), swing * math.sin(towards)), pace=pace
        )
        return view(still, path, times, height, width, "bilinear")


def fingertip(random: torch.Generator, label: str, share: Tensor) -> Tensor:
    """Where the fingertip is, in figures of about [-1, 1]. `share`: of the clip that has passed, [T] -> [T, 2]"""
    if label == "none":
        return _wandering(random, share)
    moments, points = _drawn(random, label)
    rest_before, rest_after = (between(random, 0, _REST) for _ in range(2))
    drawing = ((share - rest_before) / (1 - rest_before - rest_after)).clamp(0, 1)
    after = torch.searchsorted(moments, drawing.contiguous()).clamp(1, len(moments) - 1)
    begin, end = moments[after - 1], moments[after]
    part = ((drawing - begin) / (end - begin).clamp(min=1e-6)).clamp(0, 1).unsqueeze(1)
    at = torch.lerp(points[after - 1], points[after], part)
    # it need not rest quite where it begins and ends
    ways = 0.15 * torch.randn(2, 2, generator=random)
    early = ((rest_before - share) / _REST).clamp(min=0).unsqueeze(1)
    late = ((share - (1 - rest_after)) / _REST).clamp(min=0).unsqueeze(1)
    return at + early * ways[0] + late * ways[1]


def _drawn(random: torch.Generator, label: str) -> tuple[Tensor, Tensor]:
    """The way of the fingertip while it draws: moments in [0, 1], rising, and the point at each, [K, 2]."""
    if label == "circle":
        turns = between(random, 0.95, 1.1) * (1 if chance(random, 0.5) else -1)
        share = torch.linspace(0, 1, 4 * _MOMENTS)
        angle = 2 * math.pi * (turns * share + between(random, 0, 1))
        uneven = share + between(random, -0.1, 0.1) * torch.sin(2 * math.pi * share)
        return uneven, torch.stack([angle.cos(), angle.sin()], dim=1)
    corners = torch.tensor(_varied(random, label)) + _INEXACT * torch.randn(1, 2, generator=random)
    corners = corners + _INEXACT * torch.randn(corners.shape, generator=random)
    slower, pause = between(random, 0, 1), between(random, 0, 0.35)
    moments, points, now = [torch.zeros(1)], [corners[:1]], 0.0
    for number, (start, end) in enumerate(itertools.pairwise(corners)):
        way = end - start
        taken = float(way.norm()) * between(random, 0.7, 1.3) + 0.05
        share = torch.linspace(0, 1, _MOMENTS)[1:]
        # slower at its ends, as far as this one slows down there
        eased = torch.lerp(share, share * share * (3 - 2 * share), slower).unsqueeze(1)
        across = torch.stack([-way[1], way[0]]) * _BEND * float(torch.randn((), generator=random))
        moments.append(now + taken * share)
        points.append(start + eased * way + torch.sin(math.pi * eased) * across)
        now += taken
        if number < len(corners) - 2:
            now += pause * between(random, 0, 1) + 1e-3
            moments.append(torch.tensor([now]))
            points.append(end[None])
    return torch.cat(moments) / now, torch.cat(points)


def _varied(random: torch.Generator, label: str) -> list[tuple[float, float]]:
    """The corners of a figure, in the order in which this one draws them."""
    corners = list(_CORNERS[label])
    if label in ("square", "star"):
        first, way = below(len(corners), random), 1 if chance(random, 0.5) else -1
        return [corners[(first + way * n) % len(corners)] for n in range(len(corners) + 1)]
    if label == "cross":
        strokes = [corners[:2], corners[2:]]
        strokes = [stroke[::-1] if chance(random, 0.3) else stroke for stroke in strokes]
        return [corner for stroke in (strokes if chance(random, 0.7) else strokes[::-1]) for corner in stroke]
    return corners


def _wandering(random: torch.Generator, share: Tensor) -> Tensor:
    """A smooth way to nowhere; often a short one, or none. [T] -> [T, 2]"""
    size = (0.0, 0.05, 0.2, 0.5)[below(4, random)]
    waves, phases, sizes = (f(5, 2, 1, generator=random) for f in (torch.rand, torch.rand, torch.randn))
    rates = torch.arange(1, 6).view(5, 1, 1)
    curves = sizes / rates * torch.sin(2 * math.pi * (rates * (0.5 + waves) * share + phases))
    return size * curves.sum(0).T


def _on_picture(random: torch.Generator, way: Tensor, height: int, width: int) -> Tensor:
    """A way turned a little, put somewhere in the picture, and trembling. [T, 2] -> [T, 2], pixels"""
    lean = math.radians(_LEAN) * float(torch.randn((), generator=random))
    c, s = math.cos(lean), math.sin(lean)
    size = [between(random, 0.2, 0.48) * height for _ in range(2)]
    size[0] *= between(random, 0.9, 1.3)
    way = way @ torch.tensor([[c, s], [-s, c]]) * torch.tensor(size)
    for axis, (side, least, most) in enumerate(((width, 0.08, 0.92), (height, 0.05, 0.85))):
        low, high = least * side - float(way[:, axis].min()), most * side - float(way[:, axis].max())
        way[:, axis] += between(random, min(low, high), max(low, high))
    return way + 0.002 * height * torch.randn(way.shape, generator=random)


def _with_arm(random: torch.Generator, frames: Tensor, tip: Tensor, opening: bool) -> Tensor:
    """Frames with an arm before them, whose forefinger ends at `tip`. [T, 3, H, W], [T, 2] -> [T, 3, H, W]"""
    height, width = frames.shape[2:]
    side = 1 if chance(random, 0.75) else -1
    shoulder = torch.tensor(
        [width * (0.5 + side * between(random, 0, 0.55)), height * between(random, 1.05, 1.4)]
    ) + between(random, 0.1, 0.9) * (tip - tip.mean(0))
    shoulder[:, 1].clamp_(min=1.05 * height)  # it is never seen
    away = F.normalize(tip - shoulder, dim=1)
    lean = math.radians(between(random, -25, 25)) - side * math.radians(between(random, 0, 20))
    straight = torch.tensor([math.sin(lean), -math.cos(lean)])
    along = F.normalize(0.6 * straight + 0.4 * away, dim=1)
    palm, finger = between(random, 0.04, 0.09) * height, between(random, 0.06, 0.16) * height
    thin = palm * between(random, 0.28, 0.42)
    knuckle = tip - finger * along
    wrist = knuckle - 2.2 * palm * along
    skin = between(random, 0.1, 0.95) * torch.tensor([1.0, between(random, 0.6, 0.9), between(random, 0.45, 0.85)])
    if chance(random, 0.15):
        skin = torch.rand(3, generator=random)
    sleeve = torch.rand(3, generator=random) if chance(random, 0.3) else skin * between(random, 0.7, 1.0)
    frames = _capsule(frames, wrist, shoulder, 0.85 * palm, sleeve)
    frames = _capsule(frames, knuckle, wrist, palm, skin)
    if opening:
        pace, phases = between(random, 3, 25), 2 * math.pi * torch.rand(_FINGERS, generator=random)
        clock = torch.linspace(0, 1, len(tip)).unsqueeze(1)
        for number, phase in enumerate(phases.tolist()):
            c, s = math.cos(0.4 * number - 0.6), math.sin(0.4 * number - 0.6)
            spread = along @ torch.tensor([[c, s], [-s, c]])
            reach = finger * (0.6 + 0.6 * torch.sin(pace * clock + phase))
            frames = _capsule(frames, knuckle, knuckle + reach * spread, thin, skin)
        return frames
    return _capsule(frames, tip, knuckle, thin, skin)


def _capsule(frames: Tensor, start: Tensor, end: Tensor, radius: float, colour: Tensor) -> Tensor:
    """Frames with a rounded stroke from `start` to `end`, [T, 2] each, that is darker towards its sides."""
    height, width = frames.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], dim=-1).float()  # [H, W, 2]
    way = (end - start).view(-1, 1, 1, 2)
    from_start = pixels - start.view(-1, 1, 1, 2)
    along = ((from_start * way).sum(-1) / way.square().sum(-1).clamp(min=1e-6)).clamp(0, 1)
    distance = (from_start - along.unsqueeze(-1) * way).norm(dim=-1).unsqueeze(1)  # [T, 1, H, W]
    shade = 1 - 0.35 * (distance / radius).clamp(max=1).square()
    return torch.lerp(frames, shade * colour.view(1, 3, 1, 1), (radius - distance + 0.5).clamp(0, 1))
