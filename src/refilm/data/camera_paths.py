"""Scenes with exact motion: photographs seen by a camera that moves, with a cut-out thing that moves on its own.

The scene is known at any moment, so that what a shutter blurs and the sharp truth are both exact. Everything is drawn
from a given generator.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data.draws import below
from refilm.data.layouts import PICTURES
from refilm.data.pack import read_clip, spread
from refilm.errors import RefilmError

# Frames of each sequence of cut-outs that are read, and the least share of a frame that a cut-out fills.
_FRAMES, _LEAST = 4, 0.002
# Side of a cut-out, relative to the view's.
_SMALLEST, _LARGEST = 0.3, 0.8


@dataclass(frozen=True)
class CameraPath:
    """The part of a picture that a view shows over time, measured in intervals between two frames.

    At time t, the pixel p of the view (x, y from its centre) shows the picture's pixel
    centre + zoom^t * R(turn * t) * p + velocity * t + swing * sin(pace * t + phase), R a rotation by an angle.

    centre     (x, y) in the picture, in pixels
    velocity   pixels per interval
    turn       radians per interval
    zoom       factor per interval; above 1 more of the picture comes into view
    swing      pixels
    pace       radians per interval
    """

    centre: tuple[float, float]
    velocity: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    zoom: float = 1.0
    swing: tuple[float, float] = (0.0, 0.0)
    pace: float = 1.0
    phase: float = 0.0

    def positions(self, times: Tensor, height: int, width: int) -> Tensor:
        """Where in the picture the pixels of a view lie. [K] -> [K, height, width, 2], (x, y) in pixels"""
        across, down = torch.arange(width) - (width - 1) / 2, torch.arange(height) - (height - 1) / 2
        pixels = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1).view(1, -1, 2)
        places = self.middle(times).unsqueeze(1) + self._turned(pixels, times)
        return places.view(-1, height, width, 2)

    def flow(self, places: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """How what is seen at places of the view moves from one time to another.

        places          [..., 2], (x, y) in pixels from the middle of the view
        first, second   [K], times
        out             [K, ..., 2], (dx, dy) in pixels
        """
        pixels = places.reshape(1, -1, 2)
        # p' = zoom^(t0 - t1) R(turn (t0 - t1)) p + zoom^-t1 R(-turn t1) (middle(t0) - middle(t1))
        within = self._turned(pixels, first - second)
        shift = self._turned((self.middle(first) - self.middle(second)).unsqueeze(1), -second)
        return (within + shift - pixels).reshape(len(first), *places.shape)

    def middle(self, times: Tensor) -> Tensor:
        """Where in the picture the middle of the view lies. [K] -> [K, 2], (x, y) in pixels"""
        swung = torch.sin(self.pace * times + self.phase)
        along = [c + v * times + s * swung for c, v, s in zip(self.centre, self.velocity, self.swing, strict=True)]
        return torch.stack(along, dim=-1)

    def _turned(self, pixels: Tensor, times: Tensor) -> Tensor:
        """zoom^t * R(turn * t) * p. [K or 1, n, 2], [K] -> [K, n, 2]"""
        cos, sin = ((self.zoom**times * trace(self.turn * times)).view(-1, 1) for trace in (torch.cos, torch.sin))
        x, y = pixels.unbind(-1)
        return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def random_path(random: torch.Generator, centre: tuple[float, float], speed: float) -> CameraPath:
    """A smooth path of at most about `speed` pixels per interval, in any direction, with some rotation and zoom."""
    share, heading, turn, zoom, swing, side, pace, phase = torch.rand(8, generator=random).tolist()
    steady, swinging = speed * share * (1 - swing / 2), speed * share * swing / 2
    pace = 0.5 + 1.5 * pace
    towards, across = (2 * math.pi * angle for angle in (heading, side))
    return CameraPath(
        centre,
        velocity=(steady * math.cos(towards), steady * math.sin(towards)),
        turn=0.04 * (2 * turn - 1),
        zoom=math.exp(0.04 * (2 * zoom - 1)),
        # the swing is fastest in its middle, by its size times its pace
        swing=(swinging / pace * math.cos(across), swinging / pace * math.sin(across)),
        pace=pace,
        phase=2 * math.pi * phase,
    )


def view(
    picture: Tensor, path: CameraPath, times: Tensor, height: int, width: int, sampling: str = "bicubic"
) -> Tensor:
    """What a camera sees of a picture at each of `times`; the picture is mirrored at its border.

    sampling   "bicubic", or "bilinear", which is softer and takes a quarter of the time

    [C, H, W], [K] -> [C, K, height, width], not clamped
    """
    return _sampled(picture, path.positions(times, height, width), sampling, "reflection")


def with_layer(scene: Tensor, cutout: Tensor, path: CameraPath, times: Tensor) -> Tensor:
    """A scene with a thing before it, which `path` moves: the view's motion in the cut-out is the inverse of its own.

    scene    [3, K, H, W]
    cutout   [4, h, w], RGB and how much it covers, in [0, 1]
    out      as the scene
    """
    rgb, alpha = cutout.split((3, 1))
    layer = torch.cat((rgb * alpha, alpha))
    rgb, alpha = _sampled(layer, path.positions(times, *scene.shape[-2:]), "bilinear", "zeros").split((3, 1))
    return scene * (1 - alpha) + rgb


def _sampled(picture: Tensor, positions: Tensor, mode: str, beyond: str) -> Tensor:
    """[C, H, W], [K, h, w, 2] in pixels -> [C, K, h, w]"""
    height, width = picture.shape[-2:]
    grid = 2 * positions / positions.new_tensor([max(width - 1, 1), max(height - 1, 1)]) - 1
    # one below the other, so that the picture need not be copied for each
    seen = F.grid_sample(picture[None], grid.flatten(0, 1)[None], mode, padding_mode=beyond, align_corners=True)
    return seen[0].unflatten(1, grid.shape[:2])


@dataclass(frozen=True)
class Scenes:
    """Draws scenes: a photograph under a moving camera, and before it, if there are any, a cut-out on its own path.

    photographs   [3, H, W] each, uint8
    cutouts       [4, h, w] each, uint8, see `with_layer`
    speed         of the camera, and of the cut-out against it, at most about; pixels per interval
    """

    photographs: Sequence[Tensor]
    cutouts: Sequence[Tensor]
    speed: float = 16.0

    def draw(self, random: torch.Generator, times: Tensor, height: int, width: int) -> Tensor:
        """One scene at `times`, which are in intervals between frames. [K] -> [3, K, height, width], in [0, 1]"""
        photograph = self.photographs[below(len(self.photographs), random)].float() / 255
        # large ones are reduced, which takes their noise and what their own compression left
        reduction = max(min(photograph.shape[-2] // (2 * height), photograph.shape[-1] // (2 * width), 3), 1)
        photograph = F.avg_pool2d(photograph, reduction)
        # at the time in the middle, the view lies within the photograph, if it is large enough
        across, down = (torch.rand(2, generator=random) - 0.5).tolist()
        beyond_x, beyond_y = max(photograph.shape[2] - width, 0), max(photograph.shape[1] - height, 0)
        centre_x, centre_y = ((side - 1) / 2 for side in (photograph.shape[2], photograph.shape[1]))
        centre = (centre_x + across * beyond_x, centre_y + down * beyond_y)
        times = times - times.mean()
        scene = view(photograph, random_path(random, centre, self.speed), times, height, width).clamp(0, 1)
        if not self.cutouts:
            return scene
        cutout = self.cutouts[below(len(self.cutouts), random)].float() / 255
        size, x, y = torch.rand(3, generator=random).tolist()
        side = (_SMALLEST + (_LARGEST - _SMALLEST) * size) * min(height, width)
        ratio = side / max(cutout.shape[-2:])
        wanted = [max(round(ratio * length), 2) for length in cutout.shape[-2:]]
        cutout = F.interpolate(cutout[None], wanted, mode="bicubic", antialias=True)[0].clamp(0, 1)
        # somewhere in the inner half of the view at the time in the middle
        middle = (wanted[1] - 1) / 2 - (x - 0.5) * width / 2, (wanted[0] - 1) / 2 - (y - 0.5) * height / 2
        return with_layer(scene, cutout, random_path(random, middle, self.speed), times)


def read_scenes(photographs: Sequence[str], cutouts: str, speed: float) -> Scenes:
    """The scenes of a recipe: of the pictures in several folders, and of a folder of cut-outs, "" for none.

    Raises RefilmError if no folder is given, and as `read_photographs` and `read_cutouts`.
    """
    if not photographs:
        raise RefilmError(
            "synthetic is above 0, which asks for photographs; give folders of them as photographs, or set synthetic = "
            "0"
        )
    pictures = [picture for folder in photographs for picture in read_photographs(folder)]
    return Scenes(pictures, read_cutouts(cutouts) if cutouts else [], speed)


def read_photographs(folder: str | Path) -> list[Tensor]:
    """The pictures in a folder, in the order of their names. -> [3, H, W] each, uint8, RGB

    Raises RefilmError if there are none, or if one cannot be read.
    """
    files = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in PICTURES)
    if not files:
        raise RefilmError(f"{folder}: no pictures")
    return [read_clip(path)[0] for path in files]


def read_cutouts(folder: str | Path) -> list[Tensor]:
    """Cut-out things from sequences with masks, a few of each. -> [4, h, w] each, uint8, see `with_layer`

    The folder has, for each NAME with the split "train" in `index.json`, NAME.mp4 and NAME-mask.mkv.

    Raises RefilmError if there is no index, or no thing.
    """
    folder = Path(folder)
    try:
        index = json.loads((folder / "index.json").read_text())
    except FileNotFoundError:
        raise RefilmError(f"{folder}: no cut-outs here, index.json is missing") from None
    found = []
    for name in (name for name, entry in index.items() if entry["split"] == "train"):
        pictures, masks = (read_clip(folder / f"{name}{ending}") for ending in (".mp4", "-mask.mkv"))
        for place in spread(min(len(pictures), len(masks)), _FRAMES):
            mask = masks[place][:1]
            rows, columns = ((mask[0] > 127).any(axis).nonzero().flatten() for axis in (1, 0))
            if len(rows) and (mask > 127).float().mean() >= _LEAST:
                box = (..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
                found.append(torch.cat((pictures[place], mask))[box])
    if not found:
        raise RefilmError(f"{folder}: no cut-outs for training are listed")
    return found
