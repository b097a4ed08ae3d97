"""Training of joint deblurring and interpolation: material, loss and validation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data import Draws, Pack
from refilm.data.camera_paths import Scenes, read_scenes
from refilm.data.crops import turns
from refilm.data.degradations import exposed
from refilm.data.draws import below, chance
from refilm.data.pack import spread
from refilm.evaluation.deblurring import blurred_frames, sharpened
from refilm.evaluation.metrics import psnr_db
from refilm.models.flow_blend import QUARTERS, FlowBlend
from refilm.models.table import create_model
from refilm.stages.running import Interpolating, Still
from refilm.training.config import DeblurringConfig
from refilm.training.problem import Problem

# Moments of an interval of a synthetic scene, and of an interval between two frames of a real clip.
MOMENTS, MOMENTS_A_FRAME = 16, 4
# Pixels around a crop of a real clip that are seen by the estimation of motion only.
MARGIN = 8


class Deblurring(Problem):
    """Trains on scenes of which many moments are known, blurred by shutters of different lengths.

    They are of two kinds: reduced real clips, interpolated, so that neighbouring moments differ by little; and
    photographs under a moving camera (`Scenes`), which are exact. All estimates of the model are compared with the
    truth, and each with the earlier one on which it is founded (cycle consistency).
    """

    config: DeblurringConfig
    protocol = "reduced clips, 3 of every 4 frames averaged, frames at twice the rate, RGB PSNR in dB, a value a clip"
    plain = "the input and means of two"

    def __init__(self, config: DeblurringConfig, train: Pack, val: Pack | None) -> None:
        super().__init__(config, val)
        self._slowed = Slowed(train, config, self.frames)
        self._scenes = Scenes([], [], config.speed)
        if config.synthetic and len(train):
            self._scenes = read_scenes(config.photographs, config.cutouts, config.speed)

    @property
    def frames(self) -> int:
        """Blurry frames of a training clip."""
        return int(self.model.window) + self.config.windows - 1

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of one step: blurry [N, 3, n, S, S], and sharp [N, 3, 2n - 1, S, S], in [0, 1]."""
        random = self._slowed.draws.generator(step)
        pairs = []
        for _ in range(self.config.batch):
            if float(torch.rand((), generator=random)) < self.config.synthetic:
                times = torch.arange(self.frames * MOMENTS + 1) / MOMENTS
                scene, moments = self._scenes.draw(random, times, self.config.crop, self.config.crop), MOMENTS
            else:
                scene, moments = self._slowed.draw(random)
            low, high = self.config.shutter
            shutters = [e for e in range(1, moments + 2, 2) if low <= e / moments <= high]
            scene = turns(random)(scene.transpose(0, 1)).transpose(0, 1)
            exposure = shutters[below(len(shutters), random)]
            if self.config.unblurred and chance(random, self.config.unblurred):
                exposure = 1
            pairs.append(exposed(scene, moments, exposure))
        blurry, sharp = (torch.stack(clips) for clips in zip(*pairs, strict=True))
        return blurry, sharp

    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> Tensor:
        blurry, sharp = batch
        distances, again = [], []
        for estimate in self.model.estimates(blurry):
            frame = estimate.frame.float()
            distances.append(self.distance(frame, sharp[:, :, int(2 * estimate.time)]))
            if estimate.earlier is not None:
                again.append(self.distance(frame, estimate.earlier.float()))
        loss = torch.stack(distances).mean()
        with torch.no_grad():
            of_plain = self.distance(plainly(blurry), sharp)
        self.log_dict({"loss": loss, "loss_of_plain": of_plain}, prog_bar=True, batch_size=1)
        if again and self.config.cycle:
            cycle = torch.stack(again).mean()
            self.log("cycle", cycle, batch_size=1)
            loss = loss + self.config.cycle * cycle
        return loss

    def validate(self, model: Any, val: Pack, frames_a_clip: int) -> dict[str, list[float]]:
        figures: dict[str, list[float]] = {"psnr": [], "psnr_plain": []}
        for clip in val.frames:
            blurry, sharp = blurred_frames(clip)
            plain = plainly(blurry[None])[0]
            stills = [Still(picture, Fraction(number)) for number, picture in enumerate(blurry.unbind(1))]
            results = sharpened(Interpolating(model, self.device), stills, redraws=model.redraws_inputs)
            wanted, rows = spread(sharp.shape[1], 2 * frames_a_clip), []
            for number, result in enumerate(results):
                if number in wanted:
                    self.shown = plain[:, number], result, sharp[:, number]
                    rows.append((psnr_db(result, self.shown[2]), psnr_db(self.shown[0], self.shown[2])))
            for name, column in zip(figures, zip(*rows, strict=True), strict=True):
                figures[name].append(sum(column) / len(column))
        return figures


class Slowed:
    """Draws crops of real clips, reduced and interpolated, so that four moments of each source interval are known.

    The frames of the blurry clip are `gap` source frames apart, an even number, so that the truth consists of real
    frames, at the times of the blurry frames and half-way between them.

    frames   blurry frames that are to be made of a crop
    """

    def __init__(self, pack: Pack, config: DeblurringConfig, frames: int) -> None:
        self._pack, self._config, self._frames = pack, config, frames
        self.draws = Draws(pack, 1, config.seed)
        self._interpolator: Any = create_model("flow-blend")

    def draw(self, random: torch.Generator) -> tuple[Tensor, int]:
        """-> (a crop [3, frames * moments + 1, S, S] in [0, 1], the number of moments in an interval of it)"""
        gap = self._config.gaps[below(len(self._config.gaps), random)]
        length, shrink = self._frames * gap + 1, self._config.shrink
        side = (self._config.crop + 2 * MARGIN) * shrink
        (clip,) = self.draws.clips(random, side, length)
        frames = self._pack.frames[clip]
        first, y, x = (below(n + 1, random) for n in (len(frames) - length, *(s - side for s in frames.shape[2:])))
        crop = frames[first : first + length, :, y : y + side, x : x + side].float() / 255
        return slowed(self._interpolator, F.avg_pool2d(crop, shrink), MARGIN), gap * MOMENTS_A_FRAME


@torch.no_grad()
def slowed(interpolator: FlowBlend, frames: Tensor, margin: int) -> Tensor:
    """A clip with three new frames in each interval, without `margin` pixels on each side.

    [T, 3, H, W] -> [3, 4 * T - 3, H - 2 * margin, W - 2 * margin]
    """
    last = len(frames) - 1
    inside = slice(margin, -margin or None)
    slow = []
    for place in range(last):
        places = [min(max(p, 0), last) for p in range(place - 1, place + 3)]
        new = interpolator.between(frames[places].transpose(0, 1)[None], QUARTERS)[0]
        slow += [frames[place].unsqueeze(1), new]
    return torch.cat((*slow, frames[last].unsqueeze(1)), dim=1)[..., inside, inside]


def plainly(blurry: Tensor) -> Tensor:
    """A clip without a model: the blurry frames, and the means of two. [N, 3, n, H, W] -> [N, 3, 2n - 1, H, W]"""
    frames = blurry.unbind(2)
    doubled: Sequence[Tensor] = [f for a, b in itertools.pairwise(frames) for f in (a, (a + b) / 2)]
    return torch.stack([*doubled, frames[-1]], dim=2)
