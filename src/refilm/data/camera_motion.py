"""Clips that are labelled by what the camera does, made from stills, with the exact flow of the background.

| label | the camera | what is seen of the background |
|---|---|---|
| static | stands, on a tripod or held by hand | rests, or trembles around where it is |
| pan left, pan right | turns to its left, to its right | moves to the right, to the left |
| tilt up, tilt down | turns upwards, downwards | moves downwards, upwards |
| zoom in, zoom out | sees less, more of the scene | grows, shrinks |
| roll | turns about its axis, either way | turns the other way |

A still is seen along an exact path (`camera_paths`). Before it there may be things that stand nearer to the camera, and
so move more (parallax), and things that move by themselves, also before a camera that stands. The path has small parts
of the other motions, as those of real cameras, and trembles; it is not evenly fast; and the picture may be blurred by
motion, noisy, compressed, of another exposure, and have bars above and below. Everything is drawn from a given
generator.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data.camera_paths import CameraPath, read_cutouts, read_photographs, view, with_layer
from refilm.data.degradations import compress, gaussian_noise
from refilm.data.draws import below, between, chance, generator, log_between
from refilm.data.labelled_clips import recoloured
from refilm.data.pack import entries, read_footage
from refilm.errors import RefilmError
from refilm.video.clip_writer import RATE, write_clip

LABELS = ("static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "roll")

# The slowest and the fastest motion that has its label: widths (for tilts, heights) of the view per second, the factor
# of a zoom per second, degrees per second. Drawn evenly on a logarithmic scale.
SPEED, ZOOM, ROLL = (0.03, 0.8), (1.015, 1.6), (4.0, 60.0)
# The largest part of another motion beside that of the label, as a share of it: translations in sides of the view,
# zooms as the logarithm of the factor, rolls in radians.
_BESIDE = 0.35
# Largest tremble, as a share of the view's height, and its frequencies in Hz.
_TREMBLE, _TREMBLES = 0.008, (0.5, 3.0)
_UNEVEN = 0.6  # largest change of the speed within a clip, as a share
_ASPECTS = (1.0, 2.4)  # width to height of what the camera sees
_FINER = 1.25  # the view has so many times the height that is asked for, as films are reduced for recognisers
_SHOWN = (0.35, 0.9)  # share of the still's height that the view shows
_ASIDE = 8  # of so many stills, one is set aside
_EXPOSURES = 5  # moments that a blurred picture is the mean of
# How often each happens.
_HELD, _EVEN, _THINGS, _BLURRED, _NOISY, _COMPRESSED, _BARRED = 0.6, 0.4, 0.6, 0.25, 0.3, 0.3, 0.1
_FOLLOWED = 0.3  # of the things


@dataclass(frozen=True)
class MadeClip:
    """A clip that was made from stills, with its label.

    frames   [3, T, H, W], in [0, 1]
    """

    frames: Tensor
    label: str


@dataclass(frozen=True)
class MovingClip(MadeClip):
    """A clip whose background moves exactly along a path.

    path     of the camera, in pixels of the view, which is `view_size` large
    times    of the frames on that path, [T]
    """

    path: CameraPath
    times: Tensor
    view_size: tuple[int, int]

    def flow(self, first: Sequence[int], second: Sequence[int], grid: int) -> Tensor:
        """The flow of the background between pairs of frames, as means over the cells of a grid.

        first, second   indices of the frames, P of each
        out             [P, 2, grid, grid], (dx, dy) in pixels of the frames, from the first to the second
        """
        height, width = self.view_size
        down, across = ((torch.arange(grid) + 0.5) * side / grid - side / 2 for side in (height, width))
        # the flow of a path is linear in the place, so that of the middle of a cell is the cell's mean
        places = torch.stack(torch.broadcast_tensors(across.view(1, -1), down.view(-1, 1)), dim=-1)
        flow = self.path.flow(places, self.times[list(first)], self.times[list(second)])
        scale = flow.new_tensor([self.frames.shape[3] / width, self.frames.shape[2] / height])
        return (flow * scale).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class CameraMotions:
    """Draws labelled clips.

    stills    [3, H, W] each, uint8: photographs, or frames of films
    cutouts   [4, h, w] each, uint8, see `camera_paths.with_layer`; may be none
    """

    stills: Sequence[Tensor]
    cutouts: Sequence[Tensor] = ()
    labels = LABELS

    def seconds(self, _: torch.Generator, usual: Fraction) -> Fraction:
        """How long the next clip lasts, of a recogniser that usually sees so many seconds."""
        return usual

    def draw(self, random: torch.Generator, times: Tensor, height: int, width: int, label: str = "") -> MovingClip:
        """A clip whose frames are shown at `times`, in seconds, [T]; of a random label, if none is given."""
        label = label or LABELS[below(len(LABELS), random)]
        aspect = between(random, *_ASPECTS)
        tall = round(_FINER * height)
        wide = max(round(tall * aspect), 8)
        still = self._still(random, tall)
        seconds = times - times.mean()
        length = float(times.max() - times.min()) or 1.0
        if not chance(random, _EVEN):
            unevenness, phase = between(random, -_UNEVEN, _UNEVEN), between(random, 0, 2 * math.pi)
            pace = 2 * math.pi / length
            seconds = seconds + unevenness / pace * torch.sin(pace * seconds + phase)
        path = camera_path(random, label, tall, wide, _centre(random, still, tall, wide))
        blurs = chance(random, _BLURRED)
        moments = seconds
        if blurs:
            # of films at 24 to 60 frames per second, half of the time between two frames
            shutter = between(random, 0.25, 1.0) / between(random, 24, 60)
            open_for = torch.linspace(-0.5, 0.5, _EXPOSURES) * shutter
            moments = (seconds.view(-1, 1) + open_for).flatten()
        scene = view(still, path, moments, tall, wide, "bilinear")  # it is reduced afterwards
        scene = self._with_things(random, scene, path, moments, tall, wide)
        if blurs:
            scene = scene.unflatten(1, (-1, _EXPOSURES)).mean(dim=2)
        frames = shot(random, scene.transpose(0, 1))
        frames = F.interpolate(frames, (height, width), mode="bilinear", antialias=True, align_corners=False)
        return MovingClip(frames.clamp(0, 1).transpose(0, 1), label, path, seconds, (tall, wide))

    def _still(self, random: torch.Generator, tall: int) -> Tensor:
        """A still, so large that a view shows a part of it. [3, H, W] in [0, 1]"""
        still = self.stills[below(len(self.stills), random)].float() / 255
        if chance(random, 0.5):
            still = still.flip(2)
        ratio = tall / between(random, *_SHOWN) / still.shape[1]
        if ratio >= 1:
            return still  # its pixels are not enlarged, since no film is that soft
        size = [max(round(ratio * side), 2) for side in still.shape[1:]]
        return F.interpolate(still[None], size, mode="bilinear", antialias=True, align_corners=False)[0]

    def _with_things(
        self, random: torch.Generator, scene: Tensor, path: CameraPath, moments: Tensor, tall: int, wide: int
    ) -> Tensor:
        """Put cut-outs before a scene.

        Some belong to it and are nearer to the camera, some move by themselves, and some are what the camera follows,
        so that they stay about where they are in the picture.
        """
        if not len(self.cutouts) or not chance(random, _THINGS):
            return scene
        for _ in range(1 + below(2, random)):
            cutout = self.cutouts[below(len(self.cutouts), random)].float() / 255
            size = between(random, 0.2, 0.8) * tall / cutout.shape[1]
            wanted = [max(round(size * side), 2) for side in cutout.shape[1:]]
            cutout = F.interpolate(cutout[None], wanted, mode="bilinear", antialias=True, align_corners=False)[0]
            across, down = between(random, -0.5, 0.5) * wide, between(random, -0.4, 0.4) * tall
            nearer = between(random, 1.0, 2.2)
            own_x, own_y = 0.0, 0.0
            if chance(random, 0.5):
                # wherever it goes, the camera is none the wiser
                own_x = between(random, -0.7, 0.7) * wide
                own_y = between(random, -0.2, 0.2) * tall
            centre = (wanted[1] - 1) / 2 - across, (wanted[0] - 1) / 2 - down
            if chance(random, _FOLLOWED):
                drift = between(random, -0.1, 0.1) * wide, between(random, -0.1, 0.1) * tall
                layer = replace(path, centre=centre, velocity=drift, turn=0, zoom=1)
            else:
                layer = replace(
                    path,
                    centre=centre,
                    velocity=(nearer * path.velocity[0] - own_x, nearer * path.velocity[1] - own_y),
                    swing=(nearer * path.swing[0], nearer * path.swing[1]),
                )
            scene = with_layer(scene, cutout, layer, moments)
        return scene


def camera_path(
    random: torch.Generator, label: str, height: int, width: int, centre: tuple[float, float]
) -> CameraPath:
    """A path with the motion of a label, per second, for a view of that size in pixels."""
    speed = log_between(random, *SPEED)
    if label == "static":
        speed = 0.0
    elif label.startswith("zoom"):
        speed = math.log(log_between(random, *ZOOM))
    elif label == "roll":
        speed = math.radians(log_between(random, *ROLL))
    # per second: in widths, in heights, as a logarithm, in radians
    x, y, zoom, roll = (between(random, -_BESIDE, _BESIDE) * speed for _ in range(4))
    if label.startswith("pan"):
        x = -speed if label == "pan left" else speed
    elif label.startswith("tilt"):
        y = -speed if label == "tilt up" else speed
    elif label.startswith("zoom"):
        zoom = -speed if label == "zoom in" else speed
    elif label == "roll":
        roll = speed * (1 if chance(random, 0.5) else -1)
    swing, pace, phase = (0.0, 0.0), 1.0, 0.0
    if chance(random, _HELD):
        size = between(random, 0, _TREMBLE) * height
        towards = between(random, 0, 2 * math.pi)
        swing = size * math.cos(towards), size * math.sin(towards)
        pace, phase = 2 * math.pi * between(random, *_TREMBLES), between(random, 0, 2 * math.pi)
    return CameraPath(centre, (x * width, y * height), roll, math.exp(zoom), swing, pace, phase)


def read_stills(folders: Sequence[str | Path], kept: int = 0) -> list[Tensor]:
    """The frame in the middle of each clip of some packs, or other sets of films. -> [3, H, W] each, uint8

    kept   clips of each folder at most, evenly spread; 0: all

    Raises RefilmError as `pack.entries`.
    """
    stills = []
    for folder in folders:
        found = entries(folder)
        step = max(1, -(-len(found) // kept)) if kept else 1
        for footage, _ in found[::step]:
            frames = read_footage(footage)
            stills.append(frames[len(frames) // 2])
    return stills


def read_motions(
    photographs: Sequence[str | Path], films: Sequence[str | Path], cutouts: str | Path = ""
) -> tuple[CameraMotions, CameraMotions]:
    """Read stills, and set each eighth aside. -> (those to learn from, those to measure on)

    photographs, films   folders of pictures, see `read_photographs`, and of films, see `read_stills`
    cutouts              folder of things that stand or move before them, see `read_cutouts`; "": none

    Raises RefilmError as these, and if there are too few stills.
    """
    stills = [still for folder in photographs for still in read_photographs(folder)] + read_stills(films)
    aside = range(_ASIDE // 2, len(stills), _ASIDE)
    if not aside:
        raise RefilmError(f"{len(stills)} stills are too few to set some aside; give more photographs or films")
    things = read_cutouts(cutouts) if cutouts else []
    kept = [still for number, still in enumerate(stills) if number not in aside]
    return CameraMotions(kept, things), CameraMotions([stills[number] for number in aside], things)


def write_set(
    folder: str | Path,
    motions: CameraMotions,
    count: int,
    seconds: float = 2.0,
    size: tuple[int, int] = (180, 320),
    seed: int = 0,
) -> None:
    """Write a labelled set: clips of 25 frames a second, as many of each label, and `index.csv`, see `data.labelled`.

    size   height and width, even numbers
    """
    folder = Path(folder)
    times = torch.arange(round(seconds * RATE)) / float(RATE)
    with_label = [LABELS[number % len(LABELS)] for number in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "index.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", "label"))
        for number, label in enumerate(with_label):
            random = generator(seed, number)
            clip = motions.draw(random, times, *size, label)
            path = folder / label.replace(" ", "-") / f"{number:04}.mp4"
            path.parent.mkdir(exist_ok=True)
            write_clip(path, clip.frames.mul(255).round().byte().unbind(1), crf=20)
            table.writerow((path.relative_to(folder), label))


def _centre(random: torch.Generator, still: Tensor, tall: int, wide: int) -> tuple[float, float]:
    """Somewhere in a still so that a view lies within it, if it is large enough."""
    across, down = (torch.rand(2, generator=random) - 0.5).tolist()
    height, width = still.shape[1:]
    return (width - 1) / 2 + across * max(width - wide, 0), (height - 1) / 2 + down * max(height - tall, 0)


def shot(random: torch.Generator, frames: Tensor) -> Tensor:
    """What a camera and a codec do to frames. [T, 3, H, W] in [0, 1] -> same shape, not clamped"""
    frames = recoloured(frames, 0.3, random)
    if chance(random, _BARRED):
        bar = round(between(random, 0.05, 0.15) * frames.shape[2])
        frames = frames.clone()
        frames[:, :, :bar] = frames[:, :, frames.shape[2] - bar :] = 0
    if chance(random, _NOISY):
        frames = gaussian_noise(frames, between(random, 0, 15), random)
    if chance(random, _COMPRESSED):
        frames_u8 = frames.clamp(0, 1).mul(255).round().byte()
        frames = compress(frames_u8, "h264", round(between(random, 24, 38))).float() / 255
    return frames
