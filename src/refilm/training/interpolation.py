"""The task of frame interpolation: what a step computes, and how it is validated."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data import CropSampler, Motion, Pack
from refilm.evaluation.metrics import psnr_db
from refilm.layers.clips import places_around
from refilm.models.flow_blend import Candidates, FlowBlend, mixed
from refilm.models.vi_ls3d import OFFSET_UNIT, VILS3D
from refilm.models.vi_ls3d_flow import VILS3DFlow
from refilm.training.config import InterpolationConfig
from refilm.training.losses import Adversary, charbonnier, dissimilarity
from refilm.training.task import Task, spread


class Interpolation(Task):
    """Trains on frames of real clips: the inputs are `gap` frames apart, the frames between them are the targets."""

    config: InterpolationConfig
    protocol = "x2, odd frames from even neighbours, RGB PSNR in dB, a value a clip"
    plain = "blending"

    def __init__(self, config: InterpolationConfig, train: Pack, val: Pack | None) -> None:
        super().__init__(config, val)
        self.window = int(self.model.window)  # type: ignore[arg-type]
        self.sampler = CropSampler(train, config.crop, config.batch, config.seed, self.window)
        self.adversary = Adversary() if config.adversarial else None

    def loss_of(self, step: int) -> Tensor:
        batch = self.sampler.draw(step, kinds_at(self.config, step))
        inputs, targets = batch.inputs.to(self.device), batch.targets.to(self.device)
        places = list(batch.places)
        assert isinstance(self.model, VILS3D)
        decoded = self.model.decode(inputs)
        output = self.model.compose(inputs, decoded)[:, :, places].float()
        loss = self.distance(output, targets)
        with torch.no_grad():
            ends = torch.tensor([place / 4 for place in batch.places], device=self.device).view(1, 1, -1, 1, 1)
            blend = inputs[:, :, :1] * (1 - ends) + inputs[:, :, 1:] * ends
            of_blend = self.distance(blend, targets)
        self.log_dict({"loss": loss, "loss_of_blend": of_blend}, prog_bar=True, batch_size=1)
        loss = loss + self._further(output, targets)
        guide = guide_at(self.config, step)
        if guide:
            offsets = decoded[:, 3:7, places].float()
            distance = charbonnier(offsets, classical_offsets(inputs, targets), 0.1)
            self.log("offset_distance", distance, batch_size=1)
            loss = loss + guide * distance
        return loss

    def _further(self, output: Tensor, targets: Tensor) -> Tensor:
        """The losses beside the distance, with their weights. [N, 3, K, S, S] twice"""
        loss = output.new_zeros(())
        if self.config.structure:
            loss = loss + self.config.structure * dissimilarity(output, targets)
        if self.adversary is not None:
            generator, judges = self.adversary.losses(output, targets)
            self.log_dict({"adversarial": generator, "judges": judges}, batch_size=1)
            loss = loss + self.config.adversarial * generator + judges
        return loss

    def validate(self, model: torch.nn.Module, pack: Pack, frames_a_clip: int) -> dict[str, list[float]]:
        between: Any = model
        figures: dict[str, list[float]] = {"psnr": [], "psnr_plain": []}
        for frames in pack.frames:
            odd = list(range(1, len(frames) - 1, 2))
            rows = []
            for i in (odd[place] for place in spread(len(odd), frames_a_clip)):
                truth = frames[i].to(self.device).float() / 255
                kept = frames[::2]
                seen = kept[places_around(i // 2, self.window, len(kept))]
                clip = seen.transpose(0, 1)[None].to(self.device).float() / 255
                h, w = truth.shape[1:]
                padded = F.pad(clip, (0, -w % 4, 0, -h % 4, 0, 0), mode="replicate")
                middle = between.between(padded, [Fraction(1, 2)])[0, :, 0, :h, :w]
                self.shown = self._plainly(clip), middle, truth
                rows.append((psnr_db(middle, truth), psnr_db(self.shown[0], truth)))
            for name, column in zip(figures, zip(*rows, strict=True), strict=True):
                figures[name].append(sum(column) / len(column))
        return figures

    def _plainly(self, clip: Tensor) -> Tensor:
        """[1, 3, window, H, W] -> [3, H, W], the plain alternative at the middle."""
        return clip[0].mean(dim=1)


class FlowCorrection(Interpolation):
    """The same for vi-ls3d-flow, which has to do better than flow-blend alone."""

    plain = "flow-blend"

    def loss_of(self, step: int) -> Tensor:
        batch = self.sampler.draw(step, kinds_at(self.config, step))
        inputs, targets = batch.inputs.to(self.device), batch.targets.to(self.device)
        assert isinstance(self.model, VILS3DFlow)
        margin = self.config.margin
        inside = (..., slice(margin, -margin or None), slice(margin, -margin or None))
        outputs, blends = [], []
        times = [Fraction(place, 4) for place in batch.places]
        for time, candidates in zip(times, self.model.candidates(inputs, times), strict=True):
            seen = Candidates(*(planes[inside] for planes in candidates))
            outputs.append(self.model.corrected(seen, float(time)))
            blends.append(mixed(seen.pictures[:, :3], seen.votes))
        truth = targets[inside]
        loss, of_blend = (self.distance(torch.stack(x, dim=2), truth) for x in (outputs, blends))
        self.log_dict({"loss": loss, "loss_of_flow_blend": of_blend}, batch_size=1)
        return loss + self._further(torch.stack(outputs, dim=2), truth)

    def _plainly(self, clip: Tensor) -> Tensor:
        return FlowBlend().between(clip, [Fraction(1, 2)])[0, :, 0]


def classical_offsets(inputs: Tensor, targets: Tensor) -> Tensor:
    """Where a classical optical flow (DIS) finds each pixel of the targets in the two inputs.

    inputs   [N, 3, 2, H, W]
    targets  [N, 3, K, H, W]
    out      [N, 4, K, H, W]   (dy, dx) into the first input, then into the second, in units of `sample`
    """
    # the smallest crops are finer than the presets' coarsest scale of patches
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    method.setFinestScale(0)

    def grey(clip: Tensor) -> np.ndarray:  # [N, T, H, W]
        return (clip.mean(dim=1) * 255).round().byte().cpu().numpy()

    ends, middles = grey(inputs), grey(targets)
    out = np.empty((len(ends), 4, *targets.shape[2:]), np.float32)
    for n, k, i in itertools.product(range(len(ends)), range(targets.shape[2]), range(2)):
        flow = method.calc(np.ascontiguousarray(middles[n, k]), np.ascontiguousarray(ends[n, i]), None)  # type: ignore[call-overload]
        out[n, 2 * i, k], out[n, 2 * i + 1, k] = flow[..., 1], flow[..., 0]
    return torch.from_numpy(out / OFFSET_UNIT).to(inputs.device)


def guide_at(config: InterpolationConfig, step: int) -> float:
    """Weight of the classical offsets: full at the start, then falling, none from `guide_until` on."""
    if not config.guide or step >= config.guide_until:
        return 0.0
    return config.guide * (1 - step / config.guide_until)


def kinds_at(config: InterpolationConfig, step: int) -> list[Motion]:
    """The curriculum: the first kind of motion alone at the start, all in their proportions from `widen_until` on."""
    first, *others = config.motion
    share = min(1.0, step / config.widen_until) if config.widen_until else 1.0
    return [first, *(Motion(kind.gap, kind.shrink, kind.weight * share) for kind in others)]
