"""Random crops for training, from clips in memory. They depend on the seed and the step only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data.draws import below, generator
from refilm.data.pack import Pack


@dataclass(frozen=True)
class Motion:
    """A kind of crop for interpolation. Distance in time and reduction determine how large the motion in it is.

    gap     distance between the two input frames, in source frames: 2 gives the middle frame as target, 4 all three
            frames between
    shrink  factor by which crops are reduced, by the mean over squares of `shrink` x `shrink` pixels
    weight  how often this kind is drawn, relative to the others

    Raises ValueError for other gaps, a shrink below 1 and a negative weight.
    """

    gap: int
    shrink: int
    weight: float

    def __post_init__(self) -> None:
        if self.gap not in (2, 4):
            raise ValueError(f"gap must be 2 or 4 source frames, got {self.gap}")
        if self.shrink < 1 or self.weight < 0:
            raise ValueError(f"shrink must be at least 1 and weight not negative, got {self.shrink}, {self.weight}")


class Batch(NamedTuple):
    """A batch of crops for interpolation, RGB in [0, 1].

    inputs   [N, 3, window, S, S]
    targets  [N, 3, K, S, S]   frames between the two input frames in the middle of the window
    places   times of the K targets between these two, in quarters of the interval
    """

    inputs: Tensor
    targets: Tensor
    places: tuple[int, ...]


class Draws:
    """Random choices of clips. They depend on the seed and the number of the step only.

    A training resumed at any step therefore sees the batches that it would have seen without interruption.

    apart   clips at the end of the pack that are drawn with the probability `share`, all together
    """

    def __init__(self, pack: Pack, batch: int, seed: int, apart: int = 0, share: float = 0.0) -> None:
        self._pack, self._batch, self._seed = pack, batch, seed
        # in proportion to the number of frames, and to a factor from 0.5 to 1.5 that grows with the motion in the clip
        self._chance = torch.tensor(
            [clip.frames * min(max(clip.motion / 4, 0.5), 1.5) for clip in pack.clips], dtype=torch.float64
        )
        if apart:
            for part, weight in ((slice(-apart, None), share), (slice(-apart), 1 - share)):
                self._chance[part] *= weight / self._chance[part].sum()

    def generator(self, step: int) -> torch.Generator:
        """The random generator for all choices of a step."""
        return generator(self._seed, step)

    def clips(self, random: torch.Generator, side: int, frames: int) -> list[int]:
        """Draw the numbers of a batch of clips that have `frames` frames and sides of at least `side` pixels.

        Raises ValueError if there is none.
        """
        fits = [min(f.shape[2:]) >= side and len(f) >= frames for f in self._pack.frames]
        chance = self._chance * torch.tensor(fits, dtype=torch.float64)
        if not chance.sum() > 0:
            raise ValueError(f"no clip of the pack has {frames} frames of {side}x{side} pixels")
        return torch.multinomial(chance, self._batch, replacement=True, generator=random).tolist()


class WindowSampler:
    """Draws crops of consecutive frames for restoration, at the same positions in clips and in degraded copies of them.

    copies   lists of clips like those of the pack, frame by frame, smaller by the factor `scale`
    length   T, frames of a crop
    size     S, side of a crop in pixels, a multiple of `scale`
    batch    N, crops of a batch
    apart, share   see `Draws`
    """

    def __init__(
        self,
        pack: Pack,
        copies: Sequence[Sequence[Tensor]],
        length: int,
        size: int,
        batch: int,
        seed: int,
        scale: int = 1,
        apart: int = 0,
        share: float = 0.0,
    ) -> None:
        self._frames, self._length, self._size, self._scale = [pack.frames, *copies], length, size, scale
        self._draws = Draws(pack, batch, seed, apart, share)

    def draw(self, step: int) -> tuple[list[Tensor], torch.Generator]:
        """The batch of one step.

        -> (crops in [0, 1] of the clips, [N, 3, T, S, S], and of each copy, [N, 3, T, S / scale, S / scale];
        the generator, for further random choices)

        Raises ValueError if no clip is long and large enough.
        """
        random = self._draws.generator(step)
        clips = self._draws.clips(random, self._size, self._length)
        windows = zip(*(self._window(clip, random) for clip in clips), strict=True)
        return [torch.stack(crops).transpose(1, 2) for crops in windows], random

    def _window(self, clip: int, random: torch.Generator) -> list[Tensor]:
        t, _, h, w = self._frames[0][clip].shape
        scale, last = self._scale, t - self._length
        start, y, x = (below(n + 1, random) for n in (last, *((side - self._size) // scale for side in (h, w))))
        turn, crops = turns(random), []
        for number, frames in enumerate(self._frames):
            reduction = scale if number else 1
            top, left, side = (scale * y // reduction, scale * x // reduction, self._size // reduction)
            crop = frames[clip][start : start + self._length, :, top : top + side, left : left + side]
            crops.append(turn(crop.float() / 255))
        return crops


class CropSampler:
    """Draws crops for interpolation. A batch has a single kind of motion.

    size     S, side of a crop in pixels
    batch    N, crops of a batch
    window   frames of an input, an even number: targets lie between the two in the middle. Beyond the beginning or end
             of a clip, its nearest frame is repeated, as at the beginning and end of a film
    """

    def __init__(self, pack: Pack, size: int, batch: int, seed: int, window: int = 2) -> None:
        self._pack, self._size, self._window = pack, size, window
        self._draws = Draws(pack, batch, seed)

    def draw(self, step: int, kinds: list[Motion]) -> Batch:
        """The batch of one step, of one of `kinds`. Raises ValueError if no clip is long and large enough for it."""
        random = self._draws.generator(step)
        weights = torch.tensor([kind.weight for kind in kinds], dtype=torch.float64)
        kind = kinds[int(torch.multinomial(weights, 1, generator=random))]
        side = self._size * kind.shrink
        clips = self._draws.clips(random, side, kind.gap + 1)
        crops = torch.stack([self._crop(self._pack.frames[clip], kind, side, random) for clip in clips])
        crops = crops.transpose(1, 2)  # [N, 3, T, S, S]
        places = (2,) if kind.gap == 2 else (1, 2, 3)
        first = (self._window // 2 - 1) * kind.gap  # index of the first of the two frames in the middle
        return Batch(crops[:, :, :: kind.gap], crops[:, :, first + 1 : first + kind.gap], places)

    def _crop(self, frames: Tensor, kind: Motion, side: int, random: torch.Generator) -> Tensor:
        """A random crop of a clip, in [0, 1], with all frames from the first input to the last.

        [T, 3, H, W] -> [(window - 1) * gap + 1, 3, S, S]
        """
        t, _, h, w = frames.shape
        gap, beyond = kind.gap, self._window // 2 - 1
        first, y, x = (below(n + 1, random) for n in (t - 1 - gap, h - side, w - side))
        places = torch.arange(first - beyond * gap, first + (1 + beyond) * gap + 1)
        # to the first and last frame that are a multiple of `gap` away
        places = places.clamp(first % gap, t - 1 - (t - 1 - first) % gap)
        crop = frames[:, :, y : y + side, x : x + side][places].float() / 255
        if kind.shrink > 1:
            crop = F.avg_pool2d(crop, kind.shrink)
        return turns(random)(crop)


def turns(random: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A random one of the 16 combinations of reversal in time, flips and transposition of a clip [T, C, S, S]."""
    reversal, vertical, horizontal, transpose = (below(2, random) for _ in range(4))
    flips = [axis for axis, flip in ((0, reversal), (2, vertical), (3, horizontal)) if flip]

    def turn(crop: Tensor) -> Tensor:
        crop = crop.flip(flips)
        return crop.transpose(2, 3) if transpose else crop

    return turn
