"""Labelled clips in memory, and random views of them for training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data.draws import generator
from refilm.data.flips import Flips
from refilm.data.labelled import LabelledClip
from refilm.data.layouts import Footage
from refilm.errors import VideoError
from refilm.video import Frame
from refilm.video.decoder import Decoder

# How much a film may be short of a multiple of a rate and is still thinned to it.
_UNEVEN = Fraction(1, 20)


# Turns a frame into what is kept of it, uint8 RGB [3, h, w]; the number is the rotation of its film, in degrees.
See = Callable[[Frame, int], Tensor]


@dataclass(frozen=True)
class TimedFrames:
    """The frames of a clip, and when they are shown.

    frames_u8   [T, 3, h, w], RGB
    times       of each frame, in seconds since the first one
    seconds     length of the clip
    film        (height, width) of the pictures that the frames were made from, upright; None where there are none
    """

    frames_u8: Tensor
    times: tuple[Fraction, ...]
    seconds: Fraction
    film: tuple[int, int] | None = None


def read_timed(footage: Footage, see: See, rate: Fraction | None = None) -> TimedFrames:
    """The frames of a clip with their times.

    rate   frames per second that are wanted, about: of a film with a multiple of it, only every so many are kept

    Raises VideoError if the clip cannot be read.
    """
    pictures: list[Tensor] = []
    times: list[Fraction] = []
    many = len(footage.files) > 1
    number, end, film = 0, Fraction(0), (0, 0)
    for path in footage.files:
        # in this process, as in `pack.read_footage`
        decoder = Decoder(path, None, on_packet=lambda: None)
        rate_there = footage.rate if many else decoder.info.frame_rate
        step = 1 if rate is None else max(1, math.floor(rate_there / rate + _UNEVEN))
        for frame, _ in decoder.frames(None):
            time = number / footage.rate if many else frame.time
            end = time + (1 / footage.rate if many else frame.duration)
            if number % step == 0:
                pictures.append(see(frame, decoder.info.rotation))
                film = frame.upright_size(decoder.info.rotation)
                times.append(time)
            number += 1
    if len({picture.shape for picture in pictures}) > 1:
        raise VideoError(f"{footage.source}: its pictures differ in size")
    return TimedFrames(torch.stack(pictures), tuple(time - times[0] for time in times), end - times[0], film)


def read_all(clips: Sequence[LabelledClip], see: See, rate: Fraction) -> list[TimedFrames]:
    """`read_timed` for many clips, in threads."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda clip: read_timed(clip.footage, see, rate), clips))


@dataclass(frozen=True)
class Looks:
    """How the views of a clip differ from the clip.

    area     least and largest share of the frame that a view shows
    aspect   largest ratio by which the aspect of that part may differ from the frame's, above 1 for wider
    colour   largest change of brightness, contrast and saturation, as a share
    flips    names of flips (`data.flips`) that half of the views have, if the label allows it
    """

    area: tuple[float, float] = (0.5, 1.0)
    aspect: float = 1.25
    colour: float = 0.3
    flips: tuple[str, ...] = ("mirror",)


def random_view(
    frames_u8: Tensor, label: str, height: int, width: int, looks: Looks, flips: Flips, random: torch.Generator
) -> tuple[Tensor, str]:
    """A random view of some frames of a clip, and its label.

    [T, 3, h, w], uint8, RGB -> ([3, T, height, width], float in [0, 1]; the label, which a flip may have changed)
    """
    share, ratio, down, across = torch.rand(4, generator=random).tolist()
    low, high = looks.area
    side = math.sqrt(low + (high - low) * share)
    stretch = looks.aspect ** (ratio - 0.5)
    full = frames_u8.shape[-2:]
    tall, wide = (max(2, min(n, round(n * side * s))) for n, s in zip(full, (1 / stretch, stretch), strict=True))
    top, left = round(down * (full[0] - tall)), round(across * (full[1] - wide))
    part = frames_u8[..., top : top + tall, left : left + wide].float() / 255
    view = F.interpolate(part, (height, width), mode="bilinear", antialias=True, align_corners=False)
    for name, axis in (("mirror", 3), ("upside_down", 2), ("reversal", 0)):
        if name in looks.flips:
            drawn, other = float(torch.rand((), generator=random)) < 0.5, getattr(flips, name).get(label)
            if drawn and other is not None:
                view, label = view.flip(axis), other
    return recoloured(view, looks.colour, random).transpose(0, 1), label


def recoloured(frames: Tensor, most: float, random: torch.Generator) -> Tensor:
    """Frames of one clip with another brightness, contrast and saturation. [T, 3, H, W] in [0, 1] -> same

    most   largest change of each, as a share; 0: none
    """
    if not most:
        return frames
    brightness, contrast, saturation = (1 + most * (2 * torch.rand(3, generator=random) - 1)).tolist()
    frames = frames * brightness
    mean = frames.mean()
    frames = mean + contrast * (frames - mean)
    grey = frames.mean(dim=1, keepdim=True)
    return (grey + saturation * (frames - grey)).clamp(0, 1)


class Balanced:
    """Draws clips so that each class is drawn as often as any other, however many clips it has.

    The draws of a step depend on the seed and the number of the step only, so a resumed training sees the same batches.
    """

    def __init__(self, labels: Sequence[str], seed: int) -> None:
        self._seed = seed
        self._of_class = [
            [number for number, label in enumerate(labels) if label == name] for name in dict.fromkeys(sorted(labels))
        ]

    def generator(self, step: int) -> torch.Generator:
        """The random generator for all choices of a step."""
        return generator(self._seed, step)

    def draw(self, random: torch.Generator) -> int:
        """The number of a clip."""
        of_class = self._of_class[int(torch.randint(len(self._of_class), (), generator=random))]
        return of_class[int(torch.randint(len(of_class), (), generator=random))]
