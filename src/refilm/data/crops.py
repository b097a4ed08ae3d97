"""Random training crops for interpolation, drawn from a pack in memory: where, which frames, which way round."""

from __future__ import annotations

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
    """inputs [N, 3, 2, S, S]; targets [N, 3, K, S, S], the frames at `places` (of 0 ... 4) of the model's output."""

    inputs: Tensor
    targets: Tensor
    places: tuple[int, ...]


class CropSampler:
    """Draws batches of one kind of motion each; the same seed and step always give the same batch.

    There is no state but the step's number, so a training resumed at any step goes on with the batches it would have
    seen.
    """

    def __init__(self, pack: Pack, size: int, batch: int, seed: int) -> None:
        self._pack, self._size, self._batch, self._seed = pack, size, batch, seed
        # each frame of the pack is as likely as any other, and clips that move more count up to three times
        self._chance = torch.tensor(
            [clip.frames * min(max(clip.motion / 4, 0.5), 1.5) for clip in pack.clips], dtype=torch.float64
        )

    def draw(self, step: int, kinds: list[Motion]) -> Batch:
        """The batch of one step. Raises ValueError when no clip is long and large enough for the kind drawn."""
        random = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        weights = torch.tensor([kind.weight for kind in kinds], dtype=torch.float64)
        kind = kinds[int(torch.multinomial(weights, 1, generator=random))]
        side = self._size * kind.shrink
        fits = [min(f.shape[2:]) >= side and len(f) > kind.gap for f in self._pack.frames]
        chance = self._chance * torch.tensor(fits, dtype=torch.float64)
        if not chance.sum() > 0:
            raise ValueError(f"no clip of the pack has {kind.gap + 1} frames of {side}x{side} pixels")
        clips = torch.multinomial(chance, self._batch, replacement=True, generator=random).tolist()
        crops = torch.stack([self._crop(self._pack.frames[clip], kind, side, random) for clip in clips])
        crops = crops.transpose(1, 2)  # [N, 3, T, S, S]
        places = (2,) if kind.gap == 2 else (1, 2, 3)
        return Batch(crops[:, :, [0, -1]], crops[:, :, 1:-1], places)

    def _crop(self, frames: Tensor, kind: Motion, side: int, random: torch.Generator) -> Tensor:
        """[gap + 1, 3, S, S], in [0, 1]."""

        def below(limit: int) -> int:
            return int(torch.randint(limit, (1,), generator=random))

        t, _, h, w = frames.shape
        start, y, x = below(t - kind.gap), below(h - side + 1), below(w - side + 1)
        crop = frames[start : start + kind.gap + 1, :, y : y + side, x : x + side].float() / 255
        if kind.shrink > 1:
            crop = F.avg_pool2d(crop, kind.shrink)
        reversal, vertical, horizontal, transpose = (below(2) for _ in range(4))
        flips = [axis for axis, flip in ((0, reversal), (2, vertical), (3, horizontal)) if flip]
        crop = crop.flip(flips)
        return crop.transpose(2, 3) if transpose else crop
