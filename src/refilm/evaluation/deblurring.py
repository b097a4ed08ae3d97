"""Evaluation of joint deblurring and interpolation: sharp frames at twice the rate of blurry ones, beside the truth."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data.camera_paths import random_path, view, with_layer
from refilm.data.degradations import exposed
from refilm.data.layouts import Footage
from refilm.data.pack import read_footage
from refilm.errors import VideoError
from refilm.evaluation.flops import gflop
from refilm.evaluation.interpolators import BASELINES, Interpolator
from refilm.evaluation.metrics import as_shown, psnr_db, ssim
from refilm.evaluation.perceptual import Perceptual
from refilm.evaluation.pictures import Strip, write_strip
from refilm.evaluation.restorers import as_frames
from refilm.evaluation.results import mean
from refilm.evaluation.stopwatch import Stopwatch
from refilm.stages.running import Interpolating, Moment
from refilm.video import Frame

HALF = Fraction(1, 2)
# Blurred clips: reduced by this factor, with this many source frames between two blurry ones, of which so many are
# averaged.
REDUCTION, STEP, EXPOSURE = 3, 4, 3
# Exact paths: blurry frames, moments of an interval, and how many of them a shutter is open; pixels per interval.
COUNT, MOMENTS, OPEN, SPEED = 6, 16, 11, 12.0

# Gives the sharp frames [3, h, w] of n blurry ones: 2 * n - 1, in order.
Sharpener = Callable[[Sequence[Frame]], Iterator[Tensor]]


@dataclass(frozen=True)
class Sharpness:
    """The figures of one clip: means over its frames, of which those at even places are redrawn, and the others new.

    width, height   of the frames as they were measured
    """

    frames: int
    width: int
    height: int
    psnr_db: float
    ssim: float
    psnr_redrawn_db: float
    psnr_new_db: float
    lpips: float | None = None
    vmaf: float | None = None


@dataclass(frozen=True)
class Deblurring:
    """A protocol: make a blurry clip of which the sharp frames are known, and compare with these.

    make      makes it from a clip's frames, uint8 [T, 3, H, W], and a random generator seeded by its name -> (blurry
              [3, n, h, w], sharp [3, 2 * n - 1, h, w]), both in [0, 1]
    made      how, in words, for the result files
    further   figures of PERCEPTUAL that are measured as well

    Models that do not redraw their inputs leave the blurry frames as they are, and so do the baselines: their figure
    for redrawn frames is that of the input.
    """

    name: str
    make: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
    made: str
    further: tuple[str, ...] = ()

    task: ClassVar[str] = "deblurring"
    baselines: ClassVar[dict[str, Interpolator]] = BASELINES
    beside: ClassVar[None] = None

    @property
    def description(self) -> str:
        return (
            f"{self.made}; models are not told the shutter; the frames redrawn and those half-way between them, RGB, 8 "
            "bit, no border; mean over a clip's frames, then over clips; the time is that for one frame, redrawn or new"
        )

    def thinned(self, every: int) -> Deblurring:
        """Raises ValueError: this protocol cannot be restricted to some of the frames."""
        raise ValueError(f"{self.name} measures every frame; leave out every={every}")

    def method(self, model: Any, device: torch.device) -> Sharpener:
        """A model (`contract.Interpolator`, already on the device) in the form that `measure` takes."""
        return lambda kept: sharpened(Interpolating(model, device), kept, redraws=model.redraws_inputs)

    def fitted(self, name: str, clips: Sequence[Footage]) -> tuple[Sharpener, None]:
        """The baseline of that name, which leaves the blurry frames; there are no settings to choose from."""
        interpolator = self.baselines[name]

        def between(kept: Sequence[Frame]) -> Iterator[Tensor]:
            new = interpolator(kept, (HALF,))
            for frame in kept[:-1]:
                yield frame.rgb
                yield next(new)
            yield kept[-1].rgb

        return between, None

    def gflop(self, sharpener: Sharpener, clip: Footage) -> float:
        """The operations for one frame, redrawn or new, see `flops.gflop`."""
        blurry, sharp = self._pair(clip)
        kept = list(as_frames(blurry.transpose(0, 1), range(blurry.shape[1])))
        return gflop(lambda: list(sharpener(kept))) / sharp.shape[1]

    def measure(
        self, sharpener: Sharpener, clip: Footage, stopwatch: Stopwatch, strip: Strip | None = None
    ) -> Sharpness:
        """The figures of a clip. Raises VideoError if it is too short, or too small.

        The strip shows one frame in the middle: the blurry one, the result, the sharp one.
        """
        blurry, sharp = self._pair(clip)
        kept = list(as_frames(blurry.transpose(0, 1), range(blurry.shape[1])))
        redrawn: list[float] = []
        new: list[float] = []
        structure: list[float] = []
        with Perceptual(self.further) as perceptual:
            for number, result in enumerate(stopwatch.timed(sharpener(kept), group=2)):
                real = sharp[:, number]
                perceptual.add(result, real)
                (new if number % 2 else redrawn).append(psnr_db(result, real))
                structure.append(ssim(result, real))
                if strip is not None and number == len(kept) // 2 * 2:
                    write_strip(strip.path, [kept[number // 2].rgb, result, real])
            height, width = sharp.shape[-2:]
            every = [*redrawn, *new]
            figures = Sharpness(len(every), width, height, mean(every), mean(structure), mean(redrawn), mean(new))
            return replace(figures, **perceptual.means())

    def _pair(self, clip: Footage) -> tuple[Tensor, Tensor]:
        try:
            return self.make(read_footage(clip), torch.Generator().manual_seed(zlib.crc32(clip.source.encode())))
        except ValueError as error:
            raise VideoError(f"{clip.source}: {error}") from None


def sharpened(run: Interpolating[Any], blurry: Sequence[Moment], redraws: bool) -> Iterator[Tensor]:
    """The frames of a scene at twice the rate, [3, h, w] each: 2 * n - 1 for n blurry ones.

    redraws   whether the model of `run` redraws its inputs; if not, they stay as they are
    """
    for interval in run.over(blurry):
        if interval.is_whole:
            if redraws:
                yield from interval.between([Fraction(0), HALF])
            else:
                yield interval.first.rgb
                yield from interval.between([HALF])
        else:
            last = interval.redrawn() if redraws else None
            yield interval.first.rgb if last is None else last


def blurred_frames(frames_u8: Tensor, exposure: int = EXPOSURE) -> tuple[Tensor, Tensor]:
    """Blur by averaging real frames in linear light, `exposure` of every STEP. The clip is reduced, and so its motion.

    uint8 [T, 3, H, W] -> (blurry [3, n, H/3, W/3], 8 bit; sharp [3, 2n - 1, H/3, W/3], real frames, reduced)

    Raises ValueError if there are less than nine frames, which give two blurry ones, or sides below 33 pixels.
    """
    count = (len(frames_u8) - 1) // STEP
    if count < 2:
        raise ValueError(f"at least {2 * STEP + 1} frames are wanted, got {len(frames_u8)}")
    if min(frames_u8.shape[-2:]) < 11 * REDUCTION:
        raise ValueError(f"sides of at least {11 * REDUCTION} pixels are wanted, got {list(frames_u8.shape[-2:])}")
    small = F.avg_pool2d(frames_u8[: count * STEP + 1].float() / 255, REDUCTION)
    blurry, sharp = exposed(small.transpose(0, 1), STEP, exposure)
    return as_shown(blurry), sharp


def exact_motion(frames_u8: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blur of exact motion: the first frame, reduced by 2, under a moving camera, and before it a disc cut out of it.

    uint8 [T, 3, H, W] -> (blurry [3, COUNT, h, w], 8 bit; sharp [3, 2 * COUNT - 1, h, w]), three quarters of the
    reduced frame. Raises ValueError for sides below 48 pixels.
    """
    if min(frames_u8.shape[-2:]) < 48:
        raise ValueError(f"sides of at least 48 pixels are wanted, got {list(frames_u8.shape[-2:])}")
    picture = F.avg_pool2d(frames_u8[0].float() / 255, 2)
    height, width = (3 * side // 4 for side in picture.shape[-2:])
    times = torch.arange(COUNT * MOMENTS + 1) / MOMENTS
    times = times - times.mean()
    centre = ((picture.shape[2] - 1) / 2, (picture.shape[1] - 1) / 2)
    scene = view(picture, random_path(random, centre, SPEED), times, height, width).clamp(0, 1)
    side = min(height, width) // 3
    disc = torch.linspace(-1, 1, side).square()
    disc = (disc[:, None] + disc < 1).float()[None]
    layer = torch.cat((picture[:, :side, :side].flip(2), disc))  # of a corner that the view hardly shows
    scene = with_layer(scene, layer, random_path(random, ((side - 1) / 2, (side - 1) / 2), SPEED), times)
    blurry, sharp = exposed(scene, MOMENTS, OPEN)
    return as_shown(blurry), sharp
