"""vi-ls3d-flow: the result of flow-blend, corrected by a network with LS3D-Conv.

Not in the LS3D-Conv paper. Both frames are warped to the wanted time along a classical flow, which gives flow-blend's
four candidates for the new frame (`FlowBlend.candidates`). A network with LS3D-Conv sees these as a clip, so that its
offsets start at the motion instead of at zero. It predicts, for each pixel, factors on the candidates' weights, how
much to sharpen or smooth, and a colour to add. Before training, the result is that of flow-blend with flow down to full
size. Choices and their measurements: docs/choices.md#vi-ls3d-flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.bands import band_rows, fill_by_bands
from refilm.layers.clips import unshuffle
from refilm.layers.residual import LS3DTrunk, check_trunk
from refilm.layers.sampling import box_mean
from refilm.models.contract import Interpolator, Lesson, check_clip, check_times
from refilm.models.flow_blend import (
    PAIRS,
    QUARTERS,
    Candidates,
    FlowBlend,
    FlowBlendConfig,
    mixed,
    with_ends,
    with_overlays,
)

CANDIDATES = 4
WINDOW = CANDIDATES + 1  # frames in the network's input: the candidates, with their mean in the middle
SHUFFLE = 2  # the network works at half the size: squares of 2x2 pixels become channels
PLANES = 10  # planes of each input frame, see `_seen`
DIFFERENCE = 8.0  # factor on the differences of candidates from their mean in the network's input
AROUND = 9  # side, in pixels, of the square over which the size of these differences is averaged
SMOOTH = 5  # side, in pixels, of the square whose mean is the smoothed frame
STRONGEST = 6.0  # factors on weights are clamped to exp(+-STRONGEST)
MODES = ("bilinear", "bicubic")  # how the candidates are sampled
# Factors on the network's outputs: weights, sharpness, smoothness and colour. With factors of 1, the first steps of a
# training change the result so much that it does not recover (docs/choices.md#vi-ls3d-flow).
WORTH = (0.3,) * CANDIDATES + (0.3, 0.3) + (0.02,) * 3


@dataclass(frozen=True)
class VILS3DFlowConfig:
    """Defaults: a network small enough for a laptop.

    channels     width of every hidden layer
    blocks       number of residual blocks; the first merges the candidates into one frame, the others are 2D
    ls3d         whether the first block uses LS3D-Conv, or a plain 3D convolution
    max_offset   offsets are clamped to this, in positions of two pixels each
    strength     exponent on the learned factors of the weights: 0 keeps flow-blend's weights, 1 is as learned
    motion       where the motion comes from, see `refilm.models.motion`
    """

    channels: int = 32
    blocks: int = 4
    ls3d: bool = True
    max_offset: float = 4.0
    strength: float = 1.0
    motion: str = "dis"


class VILS3DFlow(nn.Module, Interpolator):
    """Frames at any times between two frames: flow-blend, corrected by the network."""

    task = "interpolation"
    window = FlowBlend.window
    reach = None  # the flow is estimated coarse to fine over the whole frame: tiles would not give the same result
    size_multiple = SHUFFLE  # H and W must be multiples of this
    plain = "flow-blend"

    def __init__(self, config: VILS3DFlowConfig = VILS3DFlowConfig()) -> None:
        super().__init__()
        self.config = config
        ls3d_blocks = (1,) if config.ls3d else ()
        check_trunk(WINDOW, config.blocks, ls3d_blocks, 1)
        self.flow_blend = FlowBlend(FlowBlendConfig(finest_scale=0, motion=config.motion))
        # one further plane: the distance in time between the new frame and the one that the candidate was sampled from
        planes = PLANES * SHUFFLE**2 + 1
        self.trunk = LS3DTrunk(
            planes, config.channels, config.blocks, ls3d_blocks, WINDOW, 1, max_offset=config.max_offset
        )
        self.tail = nn.Conv2d(config.channels, len(WORTH) * SHUFFLE**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    @property
    def remembered(self) -> float:
        return self.flow_blend.remembered

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 2 or 4, H, W] -> [N, 3, 5, H, W]: t = 0, 1/4, 1/2, 3/4, 1; first and last are the pair itself."""
        return with_ends(clip, self.between(clip, QUARTERS))

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """As `FlowBlend.between`, but H and W are multiples of `size_multiple`, and the result is not clamped."""
        check_clip(self, clip, PAIRS)
        check_times(times)
        if not times:
            return clip.new_empty(clip.shape[0], 3, 0, *clip.shape[3:])
        return self.in_bands(clip, self.before_bands(clip), times)

    def unlearned(self, clip: Tensor) -> Sequence[Tensor]:
        """See `Interpolator.unlearned`."""
        return self.flow_blend.unlearned(clip)

    def lesson(
        self, clip: Tensor, times: Sequence[Fraction], margin: int = 0, unlearned: Sequence[Tensor] = ()
    ) -> Lesson:
        """See `Interpolator.lesson`. The flow is estimated on the whole clip; the network sees it without margin."""
        inside = (..., slice(margin, -margin or None), slice(margin, -margin or None))
        frames, plain = [], []
        all_seen = unlearned or self.before_bands(clip)
        for time in times:
            candidates = self.flow_blend.candidates_of_rows(clip, all_seen, time, 0, clip.shape[3], MODES)
            seen = Candidates(*(planes[inside] for planes in candidates))
            frames.append(self.corrected(seen, float(time)))
            plain.append(mixed(seen.pictures[:, :3], seen.votes))
        return Lesson(torch.stack(frames, dim=2), torch.stack(plain, dim=2))

    def candidates(self, clip: Tensor, times: Sequence[Fraction]) -> Iterator[Candidates]:
        """Flow-blend's candidates at each of `times`, sampled bilinearly (3 channels) and bicubically (3 more)."""
        return self.flow_blend.candidates(clip, times, MODES)

    @property
    def _halo(self) -> int:
        """Rows on each side that a result depends on, once the motion is known."""
        # the reach of the network and its last convolution, and of the box means before and after it
        beyond = (self.trunk.reach + 1) * SHUFFLE + AROUND // 2 + SMOOTH // 2
        return beyond + beyond % SHUFFLE

    def band_pixels(self, width: int) -> int:
        """See `Interpolator.band_pixels`."""
        return (band_rows(width, SHUFFLE) + 2 * self._halo) * width

    def before_bands(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The motion and the overlays, see `FlowBlend.before_bands`."""
        return self.flow_blend.before_bands(clip)

    def in_bands(self, clip: Tensor, seen: Sequence[Tensor], times: Sequence[Fraction]) -> Tensor:
        """See `Interpolator.in_bands`. The candidates and their correction are local, once the motion is known."""

        def corrected(time: Fraction, first: int, last: int) -> Tensor:
            candidates = self.flow_blend.candidates_of_rows(clip, seen, time, first, last, MODES)
            frame = self.corrected(candidates, float(time))
            return with_overlays(frame, clip, seen, time, first, last)

        result = clip.new_empty(clip.shape[0], 3, len(times), *clip.shape[3:])
        for place, time in enumerate(times):
            fill_by_bands(result[:, :, place], partial(corrected, time), self._halo, SHUFFLE)
        return result

    def corrected(self, candidates: Candidates, time: float) -> Tensor:
        """The new frame at `time`, from candidates whose pictures are [N, 6, 4, H, W]. -> [N, 3, H, W], not clamped"""
        votes = candidates.votes / candidates.votes.sum(2, keepdim=True)
        mean, sharp = mixed(candidates.pictures, votes).split(3, dim=1)
        pictures = candidates.pictures[:, :3]
        x = self._seen(Candidates(pictures, votes, candidates.carried), mean, sharp, time)
        said = F.pixel_shuffle(self.tail(self.trunk(x)), SHUFFLE).float()
        said = said * said.new_tensor(WORTH).view(1, -1, 1, 1)
        trust, sharper, smoother, colour = said.split((CANDIDATES, 1, 1, 3), dim=1)
        trust = self.config.strength * trust.clamp(-STRONGEST, STRONGEST)
        blend = mixed(pictures, votes * trust.exp().unsqueeze(1))
        return blend + sharper * (sharp - mean) + smoother * (box_mean(blend, SMOOTH) - blend) + colour

    def _seen(self, candidates: Candidates, mean: Tensor, sharp: Tensor, time: float) -> Tensor:
        """The network's input, [N, PLANES * SHUFFLE^2 + 1, WINDOW, H / SHUFFLE, W / SHUFFLE].

        Planes of a candidate: colour (3), its difference from the mean of the candidates (3), the size of the
        difference in the pixel and in the square around it, its normalised weight, and the logarithm of how far it was
        carried. In the middle frame, which is the mean, the difference is that between bicubic and bilinear sampling.
        """
        pictures, votes, carried = candidates
        far = carried.log1p()
        difference = DIFFERENCE * (pictures - mean.unsqueeze(2))
        size = difference.abs().mean(1, keepdim=True)
        around = box_mean(size.squeeze(1), AROUND).unsqueeze(1)
        planes = torch.cat([pictures - 0.5, difference, size, around, CANDIDATES * votes - 1, far], dim=1)
        middle = [mean - 0.5, DIFFERENCE * (sharp - mean), size.mean(2), around.mean(2)]
        middle += [torch.zeros_like(mean[:, :1]), far.mean(2)]
        # candidates 0 and 2 are sampled from frame 0 and come before the mean; 1 and 3, from frame 1, come after it
        before, after = [0, 2], [3, 1]
        x = torch.cat([planes[:, :, before], torch.cat(middle, dim=1).unsqueeze(2), planes[:, :, after]], dim=2)
        x = unshuffle(x, SHUFFLE)
        away = x.new_tensor([time, time, 0, 1 - time, 1 - time]).view(1, 1, WINDOW, 1, 1)
        return torch.cat([x, away.expand(x.shape[0], 1, WINDOW, *x.shape[3:])], dim=1)
