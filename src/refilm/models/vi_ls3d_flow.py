"""VI-LS3D on motion: flow-blend, corrected by LS3D-Conv.

Beyond the paper. A classical flow carries both frames to the wanted time (`flow_blend.FlowBlend.candidates`);
LS3D-Conv samples around these places, so that its offsets begin at the motion instead of at zero; the network says
which candidate to trust, where the new frame should be sharper or smoother, and what to add. It starts as flow-blend
itself: docs/choices.md#vi-ls3d-flow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.clips import unshuffle
from refilm.layers.residual import LS3DTrunk, check_trunk
from refilm.layers.sampling import box_mean
from refilm.models.contract import Interpolator, Lesson
from refilm.models.flow_blend import (
    QUARTERS,
    Candidates,
    FlowBlend,
    FlowBlendConfig,
    check_pair,
    mixed,
    with_ends,
)

CANDIDATES = 4
WINDOW = CANDIDATES + 1  # the candidates, with their mean in the middle
SHUFFLE = 2  # the network works at half the size
PLANES = 10  # of a candidate, as the network sees it
DIFFERENCE = 8.0  # how much larger than pictures it sees what candidates differ by
AROUND = 9  # side of the square that such a difference is averaged over as well
SMOOTH = 5  # side of the square whose mean is the smoother frame
STRONGEST = 6.0  # of a vote's correction, as a logarithm
BAND_PIXELS = 2**20  # of the frame that the network makes at a time, which bounds the memory
# what one unit of the network's answer is worth, votes, sharpness, smoothness and colour: at 1 each, the first steps
# of a training throw it so far off that it does not come back (docs/choices.md#vi-ls3d-flow)
WORTH = (0.3,) * CANDIDATES + (0.3, 0.3) + (0.02,) * 3


@dataclass(frozen=True)
class VILS3DFlowConfig:
    """Defaults: a network that a laptop runs.

    channels     width of every hidden layer
    blocks       residual blocks; the first brings the candidates together, the others see their sum
    ls3d         whether the first one uses LS3D-Conv; otherwise its plain twin
    max_offset   positions (two pixels each) that offsets are cut to
    strength     how far the votes go from flow-blend's, 0, towards what was learned, 1
    """

    channels: int = 32
    blocks: int = 4
    ls3d: bool = True
    max_offset: float = 4.0
    strength: float = 1.0


class VILS3DFlow(nn.Module, Interpolator):
    """Frames at any time between two frames."""

    task = "interpolation"
    window = FlowBlend.window
    reach = None  # the flow is estimated coarse to fine over the whole frame: no tile gives the same result
    size_multiple = SHUFFLE  # H and W must be multiples of this
    plain = "flow-blend"

    def __init__(self, config: VILS3DFlowConfig = VILS3DFlowConfig()) -> None:
        super().__init__()
        self.config = config
        ls3d_blocks = (1,) if config.ls3d else ()
        check_trunk(WINDOW, config.blocks, ls3d_blocks, 1)
        self.flow_blend = FlowBlend(FlowBlendConfig(finest_scale=0))
        # beside a candidate's planes, how far the new frame is from the frame it comes from
        planes = PLANES * SHUFFLE**2 + 1
        self.trunk = LS3DTrunk(
            planes, config.channels, config.blocks, ls3d_blocks, WINDOW, 1, max_offset=config.max_offset
        )
        self.tail = nn.Conv2d(config.channels, len(WORTH) * SHUFFLE**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 2 or 4, H, W] -> [N, 3, 5, H, W]: t = 0, 1/4, 1/2, 3/4, 1; the outer two are the pair, untouched."""
        return with_ends(clip, self.between(clip, QUARTERS))

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """As `FlowBlend.between`, but H and W are multiples of `size_multiple`, and the result is not clamped."""
        check_pair(clip, times)
        if clip.shape[3] % SHUFFLE or clip.shape[4] % SHUFFLE:
            raise ValueError(
                f"vi-ls3d-flow needs H and W to be multiples of {SHUFFLE}, got {clip.shape[3]} x {clip.shape[4]}; "
                "pad the clip first"
            )
        if not times:
            return clip.new_empty(clip.shape[0], 3, 0, *clip.shape[3:])
        candidates = self.candidates(clip, times)
        frames = [self._by_bands(of_time, float(time)) for of_time, time in zip(candidates, times, strict=True)]
        return torch.stack(frames, dim=2).to(clip.dtype)

    def lesson(self, clip: Tensor, times: Sequence[Fraction], margin: int = 0) -> Lesson:
        """See `Interpolator.lesson`. Inside the margin, where a flow can know what lies beyond the crop."""
        inside = (..., slice(margin, -margin or None), slice(margin, -margin or None))
        frames, plain = [], []
        for time, candidates in zip(times, self.candidates(clip, times), strict=True):
            seen = Candidates(*(planes[inside] for planes in candidates))
            frames.append(self.corrected(seen, float(time)))
            plain.append(mixed(seen.pictures[:, :3], seen.votes))
        return Lesson(torch.stack(frames, dim=2), torch.stack(plain, dim=2))

    def candidates(self, clip: Tensor, times: Sequence[Fraction]) -> Iterator[Candidates]:
        """What `corrected` wants, at each of `times`: flow-blend's candidates, sampled bilinearly and bicubically."""
        return self.flow_blend.candidates(clip, times, ("bilinear", "bicubic"))

    def _by_bands(self, candidates: Candidates, time: float) -> Tensor:
        """As `corrected`, some rows of the frame at a time: the motion is the whole frame's, the correction local."""
        height, width = candidates.pictures.shape[3:]
        rows, beyond = self._band(width)
        bands = []
        for top in range(0, height, rows):
            first, last = max(top - beyond, 0), min(top + rows + beyond, height)
            band = self.corrected(Candidates(*(planes[:, :, :, first:last] for planes in candidates)), time)
            bands.append(band[:, :, top - first :][:, :, :rows])
        return torch.cat(bands, dim=2)

    def _band(self, width: int) -> tuple[int, int]:
        """Rows of a band, and rows beyond it on each side that its result depends on."""
        # what the network and its last convolution see, and what is averaged before and after
        beyond = (self.trunk.reach + 1) * SHUFFLE + AROUND // 2 + SMOOTH // 2
        return max(BAND_PIXELS // width // SHUFFLE, 1) * SHUFFLE, beyond + beyond % SHUFFLE

    def band_pixels(self, width: int) -> int:
        """See `Interpolator.band_pixels`: the pixels that the network sees at once, at most."""
        rows, beyond = self._band(width)
        return (rows + 2 * beyond) * width

    def before_bands(self, clip: Tensor, times: Sequence[Fraction]) -> None:
        """See `Interpolator.before_bands`: motion, and the candidates of each time in turn."""
        deque(self.candidates(clip, times), maxlen=0)

    def corrected(self, candidates: Candidates, time: float) -> Tensor:
        """Of pictures [N, 6, 4, H, W], -> [N, 3, H, W]"""
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
        """The network's input, [N, PLANES * SHUFFLE^2 + 1, WINDOW, H / SHUFFLE, W / SHUFFLE]."""
        pictures, votes, carried = candidates
        far = carried.log1p()
        difference = DIFFERENCE * (pictures - mean.unsqueeze(2))
        size = difference.abs().mean(1, keepdim=True)
        around = box_mean(size.squeeze(1), AROUND).unsqueeze(1)
        planes = torch.cat([pictures - 0.5, difference, size, around, CANDIDATES * votes - 1, far], dim=1)
        middle = [mean - 0.5, DIFFERENCE * (sharp - mean), size.mean(2), around.mean(2)]
        middle += [torch.zeros_like(mean[:, :1]), far.mean(2)]
        # frame 0 is sampled by the first and the third, frame 1 by the others; they lie on both sides of their mean
        before, after = [0, 2], [3, 1]
        x = torch.cat([planes[:, :, before], torch.cat(middle, dim=1).unsqueeze(2), planes[:, :, after]], dim=2)
        x = unshuffle(x, SHUFFLE)
        away = x.new_tensor([time, time, 0, 1 - time, 1 - time]).view(1, 1, WINDOW, 1, 1)
        return torch.cat([x, away.expand(x.shape[0], 1, WINDOW, *x.shape[3:])], dim=1)
