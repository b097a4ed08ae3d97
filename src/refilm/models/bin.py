"""BIN: blurry frames in, sharp frames at twice the rate out.

Source   Shen et al., "Blurry Video Frame Interpolation", CVPR 2020, arXiv 2002.12259; sizes, the inputs of each level
         and the places of the ConvLSTM cells from the published code.
Departs  the state goes on over a whole scene instead of two windows; the last convolution starts at zero; `bin-small`
         adds its corrections to the latest estimate of the same instant, and is given the motion, along which it
         brings together what it sees and combines samples of what is blurred: docs/choices.md#bin.

A pyramid of `scales` levels stands on scales + 1 blurry frames. Level k makes the instants half-way between two
estimates of level k - 1, so odd levels make new frames, and even levels sharp versions of the given ones:

    time       -2    -3/2    -1    -1/2    0    1/2    1    3/2    2        scales = 4
    level 0     B             B            B            B           B       blurry frames
    level 1            I            I            I            I
    level 2                   I            I            I
    level 3                         I            I
    level 4                                I

The result for an instant is its estimate of the highest level. All units of a level are one network, the backbone.
Where windows follow each other, a ConvLSTM hands the estimates of levels 1 to scales - 1 on to the next window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.optical_flow import DIS, RememberedFlows, luma
from refilm.models.contract import Estimate, Interpolator, check_clip
from refilm.models.motion import motion_source
from refilm.models.motion_paths import Paths, paths_at

HALF = Fraction(1, 2)
OF_CANDIDATES = 4.0  # factor on the weights of candidates, which are of the order of 1, and begin at 0
# Pixels in an interval that are 1 in what the networks see, and the largest number that they see, which is that of the
# fastest motion they learn from.
FLOW_UNIT, FASTEST = 8.0, 2.0
# Where blurry frames are sampled along the motion, in intervals from where a thing is in the middle of the exposure.
ALONG = tuple(eighths / 8 for eighths in range(-4, 5) if eighths)


@dataclass(frozen=True)
class BINConfig:
    """Defaults: the published model of four scales.

    scales        levels of the pyramid, 2 to 4, on scales + 1 blurry frames
    features      width of the residual dense blocks (G0)
    blocks        number of residual dense blocks in a backbone (D)
    convolutions  convolutions in each of them (C)
    growth        channels that each convolution adds (G)
    shuffle       the backbone works at this fraction of the size: squares of pixels become channels
    kernel        side of the first convolution
    decoder       channels at full size, before the last convolution
    recurrent     whether ConvLSTM cells connect the windows
    residual      what a backbone corrects: "mean", the mean of all its inputs, or "estimate", the latest estimate of
                  the same instant: from level 3 on, that two levels below; in level 2, the blurry frame; in level 1,
                  the mean of both. That estimate is then an input as well
    strength      how much of each correction is made: 1, all of it
    motion        where the motion comes from, see `refilm.models.motion`; "none": the network finds it by itself. With
                  motion, a unit sees all pictures as they lie at its own instant, and also answers with weights, one
                  for each pixel of each of its candidates: the pictures that it sees, but for the memory, and in
                  levels 1 and 2 samples of the blurry frames along the motion (ALONG), which count less where the
                  motions there and back differ. To the estimate that it corrects, it adds the weighted differences of
                  the candidates from this estimate

    Raises ValueError for values outside these ranges.
    """

    scales: int = 4
    features: int = 96
    blocks: int = 12
    convolutions: int = 4
    growth: int = 32
    shuffle: int = 2
    kernel: int = 5
    decoder: int = 64
    recurrent: bool = True
    residual: Literal["mean", "estimate"] = "mean"
    strength: float = 1.0
    motion: str = "none"

    def __post_init__(self) -> None:
        if self.scales not in (2, 3, 4):
            raise ValueError(f"scales must be 2, 3 or 4, got {self.scales}")
        for name in ("features", "blocks", "convolutions", "growth", "shuffle", "decoder"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be an odd number, got {self.kernel}")
        if self.residual not in ("mean", "estimate"):
            raise ValueError(f'residual must be "mean" or "estimate", got {self.residual!r}')
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength must lie in [0, 1], got {self.strength}")
        if self.motion != "none" and self.residual != "estimate":
            raise ValueError(f'with motion, residual must be "estimate", got {self.residual!r}')

    def candidates(self, level: int) -> int:
        """The number of candidates that a unit of a level has."""
        return {1: 2 + 2 * len(ALONG), 2: 2 + len(ALONG)}.get(level, 4) if self.motion != "none" else 0


class ResidualDenseBlock(nn.Module):
    """Each convolution sees the input and the outputs of all before it. [N, features, h, w] -> same shape"""

    def __init__(self, features: int, convolutions: int, growth: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(features + c * growth, growth, 3, padding=1) for c in range(convolutions)
        )
        self.fusion = nn.Conv2d(features + convolutions * growth, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for convolution in self.convolutions:
            dense = torch.cat((dense, F.relu(convolution(dense))), dim=1)
        return x + self.fusion(dense)


class Backbone(nn.Module):
    """A residual dense network that corrects a picture by what it sees in several (3.2).

    frames       how many pictures it sees
    candidates   how many differences from the picture that it corrects it weighs
    """

    def __init__(self, frames: int, candidates: int, config: BINConfig) -> None:
        super().__init__()
        features, self.shuffle, self.strength = config.features, config.shuffle, config.strength
        planes = 3 * frames * config.shuffle**2 + (4 if config.motion != "none" else 0)
        self.shallow = nn.Conv2d(planes, features, config.kernel, padding=config.kernel // 2)
        self.deeper = nn.Conv2d(features, features, 3, padding=1)
        self.blocks = nn.ModuleList(
            ResidualDenseBlock(features, config.convolutions, config.growth) for _ in range(config.blocks)
        )
        self.fusion = nn.Sequential(
            nn.Conv2d(config.blocks * features, features, 1), nn.Conv2d(features, features, 3, padding=1)
        )
        self.decoder = nn.Conv2d(features, config.decoder * config.shuffle**2, 3, padding=1)
        self.colour = nn.Conv2d(config.decoder, 3 + candidates, 3, padding=1)
        nn.init.zeros_(self.colour.weight)
        nn.init.zeros_(self.colour.bias)  # type: ignore[arg-type]

    def forward(
        self, frames: Sequence[Tensor], start: Tensor, differences: Sequence[Tensor] = (), paths: Paths | None = None
    ) -> Tensor:
        """`start` and its correction. [N, 3, H, W] each -> [N, 3, H, W], not clamped"""
        seen = F.pixel_unshuffle(torch.cat(tuple(frames), dim=1), self.shuffle)
        if paths is not None:
            way = F.avg_pool2d(torch.cat((paths.back, paths.forth), dim=1), self.shuffle) / FLOW_UNIT
            way = way.clamp(-FASTEST, FASTEST)
            seen = torch.cat((seen, way.to(seen.dtype)), dim=1)
        shallow = self.shallow(seen)
        x, outputs = self.deeper(shallow), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        x = shallow + self.fusion(torch.cat(outputs, dim=1))
        said = self.colour(F.pixel_shuffle(self.decoder(x), self.shuffle))
        correction = said[:, :3]
        for difference, weight in zip(differences, said[:, 3:].unbind(1), strict=True):
            correction = correction + OF_CANDIDATES * weight[:, None] * difference
        return start + self.strength * correction


State = tuple[Tensor, Tensor]  # cell and hidden state of a ConvLSTM, [N, 3, H, W] each


class ConvLSTM(nn.Module):
    """A convolutional LSTM cell on pictures, with a forget bias of 1."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)
        nn.init.xavier_uniform_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)  # type: ignore[arg-type]

    def forward(self, picture: Tensor, state: State | None) -> State:
        """The next state. `picture` [N, C, H, W]; `state` None: the first picture of a scene."""
        cell, hidden = (torch.zeros_like(picture),) * 2 if state is None else state
        write, content, keep, show = self.gates(torch.cat((picture, hidden), dim=1)).chunk(4, dim=1)
        cell = cell * (keep + 1).sigmoid() + write.sigmoid() * content.tanh()
        return cell, cell.tanh() * show.sigmoid()


class BIN(nn.Module, Interpolator):
    """Joint deblurring and interpolation: n blurry frames give 2n - 1 sharp ones."""

    task = "deblurring"
    redraws_inputs = True
    instants = (HALF,)

    def __init__(self, config: BINConfig = BINConfig()) -> None:
        super().__init__()
        self.config = config
        # level k sees two estimates of level k - 1, from level 3 on two more of the same instants, from level k - 3;
        # and from level 2 on what the window before handed on, and the estimate that it corrects
        further = config.recurrent + (config.residual == "estimate")
        inputs = [(2 if k < 3 else 4) + (further if k > 1 else 0) for k in range(1, config.scales + 1)]
        self.backbones = nn.ModuleList(
            Backbone(frames, config.candidates(level), config) for level, frames in enumerate(inputs, start=1)
        )
        self._flows = None
        if config.motion != "none":
            self._flows = RememberedFlows(motion_source(config.motion, DIS()), pairs=config.scales)
        # for level k = 1 ... scales - 1 of the next window, which begins one frame later, all estimates but the first
        levels = range(1, config.scales) if config.recurrent else ()
        self.cells: Any = nn.ModuleList(nn.ModuleList(ConvLSTM() for _ in range(config.scales - k)) for k in levels)
        self.reset()

    @property
    def window(self) -> int:
        """The least number of frames around a pair that all estimates of its two frames need."""
        return self.config.scales // 2 * 2 + 2

    @property
    def size_multiple(self) -> int:
        return self.config.shuffle

    @property
    def recurrent(self) -> bool:
        return self.config.recurrent

    @property
    def reach(self) -> int | None:
        if self.recurrent or self._flows:
            return None
        of_backbone = self.config.shuffle * (
            4 + self.config.kernel // 2 + self.config.blocks * self.config.convolutions
        )
        return self.config.scales * of_backbone

    @property
    def remembered(self) -> float:
        states = 4.0 * 2 * 3 * sum(map(len, self.cells))  # two states of three channels a cell, in single precision
        return states + (self._flows.bytes_a_pixel if self._flows else 0)

    def reset(self) -> None:
        self._states: list[list[State | None]] = [[None] * len(cells) for cells in self.cells]

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, window, H, W] -> [N, 3, 3, H, W]: t = 0, 1/2, 1, as at the beginning of a scene."""
        self.reset()
        sharp = self.between(clip, [Fraction(0), HALF, Fraction(1)])
        self.reset()
        return sharp

    def sharpen(self, clip: Tensor) -> Tensor:
        """All sharp frames of a scene: at the times of its n blurry frames, and half-way between them.

        [N, 3, n, H, W], n >= 2, RGB, [0, 1] -> [N, 3, 2n - 1, H, W], not clamped. Beyond the ends, the first and the
        last frame are repeated. The state is cleared before and after. Raises as `between`.
        """
        self.reset()
        beyond, last = self.window // 2 - 1, clip.shape[2] - 1
        sharp = []
        for first in range(last):
            places = [min(max(place, 0), last) for place in range(first - beyond, first + beyond + 2)]
            times = [Fraction(0), HALF, *([Fraction(1)] if first + 1 == last else [])]
            sharp.append(self.between(clip[:, :, places], times))
        self.reset()
        return torch.cat(sharp, dim=2)

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """The sharp frames at `times` of the pair in the middle of a window, and one step of the state.

        clip    [N, 3, window, H, W], RGB, [0, 1]
        times   each 0 or 1, for the frames of the pair themselves, or 1/2
        out     [N, 3, len(times), H, W], not clamped

        Raises as `check_clip`; ValueError for other times.
        """
        check_clip(self, clip)
        if strange := [time for time in times if time not in (0, HALF, 1)]:
            name = getattr(self, "name", type(self).__name__)
            raise ValueError(
                f"{name} makes the frame half-way between two and sharp versions of these, so times must be 0, 1/2 or "
                f"1, got {', '.join(map(str, strange))}"
            )
        # a further frame is of use for the second of the pair alone, and only to pyramids of an even number of levels
        needed = self.window if 1 in times else self.config.scales + 1
        levels = self.pyramid(clip.unbind(2)[:needed])
        sharp = [self._best(levels, time) for time in times]
        return torch.stack(sharp, dim=2) if sharp else clip.new_empty(clip.shape[0], 3, 0, *clip.shape[3:])

    def _best(self, levels: Sequence[Sequence[Tensor]], time: Fraction) -> Tensor:
        """The highest estimate of an instant, by its time in the interval of the pair."""
        depth = max(k for k in range(self.config.scales + 1) if (k % 2 == 1) == (time == HALF))
        return levels[depth][int(self.window // 2 - 1 + time - Fraction(depth, 2))]

    def estimates(self, clip: Tensor) -> Iterator[Estimate]:
        """All estimates of all windows of a clip, in order. See `Interpolator.estimates`."""
        self.reset()
        frames = clip.unbind(2)
        for first in range(len(frames) - self.config.scales):
            levels = self.pyramid(frames[first : first + self.config.scales + 1])
            for k, level in enumerate(levels[1:], start=1):
                for place, frame in enumerate(level):
                    earlier = levels[k - 2][place + 1] if k > 2 else None
                    yield Estimate(first + place + Fraction(k, 2), frame, earlier)
        self.reset()

    def pyramid(self, frames: Sequence[Tensor]) -> list[list[Tensor]]:
        """The estimates of one window, and one step of the state.

        frames   scales + 1 blurry frames or more, [N, 3, H, W] each. What lies beyond the first scales + 1 has no part
                 in the state
        out      for each level from 0 on, which are the frames themselves, its estimates in the order of time: number j
                 of level k is that of the instant j + k / 2, counted in frames
        """
        levels = [list(frames)]
        paths = self._paths(frames)
        for k, backbone in enumerate(self.backbones, start=1):
            places = range(len(levels[-1]) - 1)
            levels.append(
                [self._estimate(backbone, levels, k, place, paths.get(place + Fraction(k, 2))) for place in places]
            )
        self._states = [
            [cell(level[1 + place], states[place]) for place, cell in enumerate(cells)]
            for cells, level, states in zip(self.cells, levels[1:], self._states, strict=False)
        ]
        return levels

    def _paths(self, frames: Sequence[Tensor]) -> dict[Fraction, Paths]:
        """The paths at all instants of the estimates of one window; none without motion."""
        if self._flows is None:
            return {}
        planes = [luma(frame) for frame in frames]
        flows = [self._flows.between(first, second) for first, second in pairwise(planes)]
        return {instant: paths_at(flows, instant) for instant in (Fraction(n, 2) for n in range(1, 2 * len(flows)))}

    def _estimate(
        self, backbone: nn.Module, levels: Sequence[Sequence[Tensor]], k: int, place: int, paths: Paths | None
    ) -> Tensor:
        """Estimate number `place` of level k, from the levels below, along the paths at its instant."""
        left, right = levels[k - 1][place : place + 2]
        seen = [left, right]
        if k >= 3:
            before, after = levels[k - 3][place + 1 : place + 3]  # of the same instants as `left` and `right`
            seen = [before, left, right, after]
        if paths is not None:
            half = len(seen) // 2
            seen = [
                paths.sampled(picture, time) for picture, time in zip(seen, [-0.5] * half + [0.5] * half, strict=True)
            ]
        pictures = seen
        if k >= 2 and self.recurrent:
            states = self._states[k - 2]
            memory = left if place >= len(states) or (state := states[place]) is None else state[1]
            seen = [memory if paths is None else paths.sampled(memory, -0.5), *seen]
        if self.config.residual == "mean":
            start = torch.stack(seen).mean(0)
        elif k == 1:
            start = (seen[0] + seen[1]) / 2
        else:
            start = levels[k - 2][place + 1]
            seen = [*seen, start]
        differences = []
        if paths is not None:
            blurry = {1: ((left, -0.5), (right, 0.5)), 2: ((start, 0.0),)}.get(k, ())
            along = [paths.sampled(frame, time + later) - start for frame, time in blurry for later in ALONG]
            differences = [picture - start for picture in pictures] + [paths.trust * each for each in along]
        corrected: Tensor = backbone(seen, start, differences, paths)
        return corrected
