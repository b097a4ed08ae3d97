"""Training of frame interpolation: loss and validation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from refilm.data import Batch, CropSampler, Motion, Pack
from refilm.data.pack import spread
from refilm.evaluation.metrics import psnr_db
from refilm.models import create_model
from refilm.models.contract import Interpolator, Lesson
from refilm.stages.running import Interpolating
from refilm.training.config import InterpolationConfig
from refilm.training.losses import Adversary, charbonnier, dissimilarity
from refilm.training.problem import Problem


class Interpolation(Problem):
    """Trains on real clips: input frames are `gap` frames apart (see Motion), and frames between them are the targets.

    A validation predicts the odd frames of each clip from the even ones.
    """

    config: InterpolationConfig
    protocol = "x2, odd frames from even neighbours, RGB PSNR in dB, a value a clip"

    def __init__(self, config: InterpolationConfig, train: Pack, val: Pack | None) -> None:
        super().__init__(config, val)
        self.plain = self.model.plain
        self.sampler = CropSampler(train, config.crop, config.batch, config.seed, self.model.window)
        self.adversary = Adversary() if config.adversarial else None

    def draw(self, step: int) -> tuple[Batch, Sequence[Tensor]]:
        """The crops, and what the model has seen in them that does not learn (`Interpolator.unlearned`)."""
        batch = self.sampler.draw(step, kinds_at(self.config, step))
        return batch, self.model.unlearned(batch.inputs)

    def loss(self, drawn: tuple[Batch, Sequence[Tensor]], step: int) -> Tensor:
        batch, seen = drawn
        inputs, targets, margin = batch.inputs, batch.targets, self.config.margin
        truth = targets[..., margin : targets.shape[-2] - margin, margin : targets.shape[-1] - margin]
        lesson: Lesson = self.model.lesson(inputs, [Fraction(place, 4) for place in batch.places], margin, seen)
        loss = self.distance(lesson.frames, truth)
        with torch.no_grad():
            of_plain = self.distance(lesson.plain, truth)
        self.log_dict({"loss": loss, "loss_of_plain": of_plain}, prog_bar=True, batch_size=1)
        loss = loss + self._further(lesson.frames, truth)
        guide = guide_at(self.config, step)
        if guide and lesson.offsets is not None:
            # in pixels of quarter-size frames, the unit of `InterpolationConfig.guide`
            distance = charbonnier(lesson.offsets / 4, classical_offsets(inputs, truth) / 4, 0.1)
            self.log("offset_distance", distance, batch_size=1)
            loss = loss + guide * distance
        return loss

    def _further(self, output: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum of all losses but the distance. `output`, `targets`: [N, 3, K, S, S]."""
        loss = output.new_zeros(())
        if self.config.structure:
            loss = loss + self.config.structure * dissimilarity(output, targets)
        if self.adversary is not None:
            generator, judges = self.adversary.losses(output, targets)
            self.log_dict({"adversarial": generator, "judges": judges}, batch_size=1)
            loss = loss + self.config.adversarial * generator + judges
        return loss

    def validate(self, model: torch.nn.Module, val: Pack, frames_a_clip: int) -> dict[str, list[float]]:
        figures: dict[str, list[float]] = {"psnr": [], "psnr_plain": []}
        for clip in val.frames:
            kept = [_Still(picture, Fraction(number)) for number, picture in enumerate(clip[::2])]
            intervals = zip(self._run(model).over(kept), self._plain_run().over(kept), strict=True)
            wanted = spread((len(clip) - 1) // 2, frames_a_clip)
            rows = []
            for number, (interval, plain) in enumerate(intervals):
                if number in wanted:
                    middle = [Fraction(1, 2)]
                    truth = clip[2 * number + 1].float() / 255
                    self.shown = plain.between(middle)[0], interval.between(middle)[0], truth
                    rows.append((psnr_db(self.shown[1], truth), psnr_db(self.shown[0], truth)))
            for name, column in zip(figures, zip(*rows, strict=True), strict=True):
                figures[name].append(sum(column) / len(column))
        return figures

    def _run(self, model: Any) -> Interpolating[_Still]:
        return Interpolating(model, self.device)

    def _plain_run(self) -> Interpolating[_Still]:
        return self._run(Blending() if self.plain == "blending" else create_model(self.plain))


class Blending(nn.Module, Interpolator):
    """The mean of two frames weighted by time, as a model: the plain alternative "blending"."""

    task = "interpolation"
    window, reach = 2, 0

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        weights = torch.tensor([float(time) for time in times], device=clip.device).view(1, 1, -1, 1, 1)
        return torch.lerp(clip[:, :, :1], clip[:, :, 1:], weights)


@dataclass(frozen=True)
class _Still:
    """A frame of a clip in memory, in the form that `Interpolating` takes: a `Moment`."""

    picture_u8: Tensor
    time: Fraction
    starts_scene: bool = False

    @property
    def rgb(self) -> Tensor:
        return self.picture_u8.float() / 255


def classical_offsets(inputs: Tensor, targets: Tensor) -> Tensor:
    """DIS flow from each target to the two input frames, in the form of `Lesson.offsets`.

    inputs   [N, 3, 2, H, W]   RGB, [0, 1]
    targets  [N, 3, K, H, W]
    out      [N, 4, K, H, W]   (dy, dx) in pixels to the first input, then to the second
    """
    # in the smallest crops, the coarsest scale is finer than the preset's finest one
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    method.setFinestScale(0)

    def grey(clip: Tensor) -> np.ndarray:  # [N, T, H, W]
        return (clip.mean(dim=1) * 255).round().byte().cpu().numpy()

    ends, middles = grey(inputs), grey(targets)
    out = np.empty((len(ends), 4, *targets.shape[2:]), np.float32)
    for n, k, i in itertools.product(range(len(ends)), range(targets.shape[2]), range(2)):
        flow = method.calc(np.ascontiguousarray(middles[n, k]), np.ascontiguousarray(ends[n, i]), None)  # type: ignore[call-overload]
        out[n, 2 * i, k], out[n, 2 * i + 1, k] = flow[..., 1], flow[..., 0]
    return torch.from_numpy(out).to(inputs.device)


def guide_at(config: InterpolationConfig, step: int) -> float:
    """Weight of the guide at a step: falls linearly from `guide` to 0 at `guide_until`."""
    if not config.guide or step >= config.guide_until:
        return 0.0
    return config.guide * (1 - step / config.guide_until)


def kinds_at(config: InterpolationConfig, step: int) -> list[Motion]:
    """The kinds of crops at a step, with their weights; see `InterpolationConfig.widen_until`."""
    first, *others = config.motion
    share = min(1.0, step / config.widen_until) if config.widen_until else 1.0
    return [first, *(Motion(kind.gap, kind.shrink, kind.weight * share) for kind in others)]
