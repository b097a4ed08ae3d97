"""Random training crops, drawn from a pack in memory: where, which frames, which way round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data.pack import Pack


@dataclass(frozen=True)
class Motion:
    """How far apart in time, and how small, the frames of a crop are: together, how much moves in it.

    gap     source frames between the two inputs: 2 supervises the middle only, 4 all three frames between
    shrink  side of the square that is averaged into one pixel
    weight  how often this kind is drawn, relative to the others
    """

    gap: int
    shrink: int
    weight: float

    def __post_init__(self) -> None:
        if self.gap not in (2, 4):
            raise ValueError(f"gap must be 2 or 4 source frames, got {self.gap}")
        if self.shrink < 1 or self.weight < 0:
            raise ValueError(f"shrink must be at least 1 and weight not negative, got {self.shrink}, {self.weight}")


@dataclass(frozen=True)
class Batch:
    """inputs [N, 3, window, S, S]; targets [N, 3, K, S, S], the frames at `places` (of 0 ... 4) of what the model makes
    between the two frames in the middle of the window.
    """

    inputs: Tensor
    targets: Tensor
    places: tuple[int, ...]


class Draws:
    """Which clips a step takes. There is no state but the step's number, so a training resumed at any step goes on
    with the batches it would have seen.
    """

    def __init__(self, pack: Pack, batch: int, seed: int) -> None:
        self._pack, self._batch, self._seed = pack, batch, seed
        # each frame of the pack is as likely as any other, and clips that move more count up to three times
        self._chance = torch.tensor(
            [clip.frames * min(max(clip.motion / 4, 0.5), 1.5) for clip in pack.clips], dtype=torch.float64
        )

    def generator(self, step: int) -> torch.Generator:
        """The source of all that is random in a step."""
        return torch.Generator().manual_seed(self._seed * 1_000_003 + step)

    def clips(self, random: torch.Generator, side: int, frames: int) -> list[int]:
        """Numbers of clips that are large and long enough. Raises ValueError when there is none."""
        fits = [min(f.shape[2:]) >= side and len(f) >= frames for f in self._pack.frames]
        chance = self._chance * torch.tensor(fits, dtype=torch.float64)
        if not chance.sum() > 0:
            raise ValueError(f"no clip of the pack has {frames} frames of {side}x{side} pixels")
        return torch.multinomial(chance, self._batch, replacement=True, generator=random).tolist()


class WindowSampler:
    """Draws windows of consecutive frames, cut alike from clips and from degraded copies of them.

    The same seed and step always give the same batch.
    """

    def __init__(self, pack: Pack, copies: Sequence[Sequence[Tensor]], length: int, size: int, batch: int, seed: int):
        self._frames, self._length, self._size = [pack.frames, *copies], length, size
        self._draws = Draws(pack, batch, seed)

    def draw(self, step: int) -> tuple[list[Tensor], torch.Generator]:
        """[N, 3, T, S, S] in [0, 1], of the clips and of each copy; and the generator, for what else the step draws.

        Raises ValueError when no clip is long and large enough.
        """
        random = self._draws.generator(step)
        clips = self._draws.clips(random, self._size, self._length)
        windows = zip(*(self._window(clip, random) for clip in clips), strict=True)
        return [torch.stack(crops).transpose(1, 2) for crops in windows], random

    def _window(self, clip: int, random: torch.Generator) -> list[Tensor]:
        t, _, h, w = self._frames[0][clip].shape
        start, y, x = (below(n + 1, random) for n in (t - self._length, h - self._size, w - self._size))
        turn = turns(random)
        return [
            turn(frames[clip][start : start + self._length, :, y : y + self._size, x : x + self._size].float() / 255)
            for frames in self._frames
        ]


class CropSampler:
    """Draws batches of one kind of motion each; the same seed and step always give the same batch.

    window   frames of an input, an even number: the two that new ones lie between, and as many beyond on either side;
             where the clip begins or ends, the nearest stands in, as it does for the first and last of a film
    """

    def __init__(self, pack: Pack, size: int, batch: int, seed: int, window: int = 2) -> None:
        self._pack, self._size, self._window = pack, size, window
        self._draws = Draws(pack, batch, seed)

    def draw(self, step: int, kinds: list[Motion]) -> Batch:
        """The batch of one step. Raises ValueError when no clip is long and large enough for the kind drawn."""
        random = self._draws.generator(step)
        weights = torch.tensor([kind.weight for kind in kinds], dtype=torch.float64)
        kind = kinds[int(torch.multinomial(weights, 1, generator=random))]
        side = self._size * kind.shrink
        clips = self._draws.clips(random, side, kind.gap + 1)
        crops = torch.stack([self._crop(self._pack.frames[clip], kind, side, random) for clip in clips])
        crops = crops.transpose(1, 2)  # [N, 3, T, S, S]
        places = (2,) if kind.gap == 2 else (1, 2, 3)
        first = (self._window // 2 - 1) * kind.gap  # of the two in the middle
        return Batch(crops[:, :, :: kind.gap], crops[:, :, first + 1 : first + kind.gap], places)

    def _crop(self, frames: Tensor, kind: Motion, side: int, random: torch.Generator) -> Tensor:
        """[(window - 1) * gap + 1, 3, S, S], in [0, 1]."""
        t, _, h, w = frames.shape
        gap, beyond = kind.gap, self._window // 2 - 1
        first, y, x = (below(n + 1, random) for n in (t - 1 - gap, h - side, w - side))
        places = torch.arange(first - beyond * gap, first + (1 + beyond) * gap + 1)
        places = places.clamp(first % gap, t - 1 - (t - 1 - first) % gap)  # the first and last that are whole gaps away
        crop = frames[:, :, y : y + side, x : x + side][places].float() / 255
        if kind.shrink > 1:
            crop = F.avg_pool2d(crop, kind.shrink)
        return turns(random)(crop)


def below(limit: int, random: torch.Generator) -> int:
    """A whole number from 0 to limit - 1."""
    return int(torch.randint(limit, (1,), generator=random))


def turns(random: torch.Generator) -> Callable[[Tensor], Tensor]:
    """One of the 16 ways to run a square clip [T, C, S, S] backwards, mirror it and turn it."""
    reversal, vertical, horizontal, transpose = (below(2, random) for _ in range(4))
    flips = [axis for axis, flip in ((0, reversal), (2, vertical), (3, horizontal)) if flip]

    def turn(crop: Tensor) -> Tensor:
        crop = crop.flip(flips)
        return crop.transpose(2, 3) if transpose else crop

    return turn
