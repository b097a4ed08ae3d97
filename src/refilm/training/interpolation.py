"""The task of frame interpolation: what a step computes, and how it is validated."""

from __future__ import annotations

import itertools
import math
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from refilm.data import CropSampler, Motion, Pack
from refilm.models import create_model
from refilm.models.table import fill
from refilm.models.vi_ls3d import OFFSET_UNIT, VILS3D
from refilm.training.config import TrainConfig
from refilm.weights import load_weights


class Interpolation(lightning.LightningModule):
    """Trains on frames of real clips: the inputs are `gap` frames apart, the frames between them are the targets."""

    def __init__(self, config: TrainConfig, train: Pack, val: Pack | None) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(config.seed)
        self.model = create_model(config.model, weights=None, **config.config)
        if config.start:
            fill(self.model, load_weights(config.start), strict=False)
        self.ema = AveragedModel(self.model, multi_avg_fn=self._average, use_buffers=True)
        self.sampler = CropSampler(train, config.crop, config.batch, config.seed)
        self.val = val
        self.metrics: dict[str, Any] = {}

    @torch.no_grad()
    def _average(self, averages: Any, values: Any, count: Tensor | int) -> None:
        # young averages forget faster, or they would be made of the initialisation
        decay = min(self.config.ema_decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averages, values, 1 - decay)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=self.config.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(self.config, step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, _: Any, index: int) -> Tensor:
        # the step's number alone decides the batch: a resumed training goes on with the next one
        batch = self.sampler.draw(self.global_step, kinds_at(self.config, self.global_step))
        inputs, targets = batch.inputs.to(self.device), batch.targets.to(self.device)
        places = list(batch.places)
        assert isinstance(self.model, VILS3D)
        decoded = self.model.decode(inputs)
        output = self.model.compose(inputs, decoded)[:, :, places].float()
        loss = charbonnier(output, targets, self.config.epsilon)
        with torch.no_grad():
            ends = torch.tensor([place / 4 for place in batch.places], device=self.device).view(1, 1, -1, 1, 1)
            blend = inputs[:, :, :1] * (1 - ends) + inputs[:, :, 1:] * ends
            ratio = loss / charbonnier(blend, targets, self.config.epsilon)
        if not loss.isfinite():
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.global_step}; lower learning_rate")
        self.log_dict({"loss": loss, "loss_over_blend": ratio}, prog_bar=True, batch_size=1)
        guide = guide_at(self.config, self.global_step)
        if guide:
            offsets = decoded[:, 3:7, places].float()
            distance = charbonnier(offsets, classical_offsets(inputs, targets), 0.1)
            self.log("offset_distance", distance, batch_size=1)
            loss = loss + guide * distance
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        norms = torch.stack([p.grad.norm() for p in self.model.parameters() if p.grad is not None])
        self.log("gradient_norm", norms.norm(), batch_size=1)
        sampling = [
            p.grad.norm() for name, p in self.model.named_parameters() if ".sampling." in name and p.grad is not None
        ]
        if sampling:
            self.log("sampling_gradient_norm", torch.stack(sampling).norm(), batch_size=1)

    def on_train_batch_end(self, *_: Any) -> None:
        self.ema.update_parameters(self.model)

    def validation_step(self, *_: Any) -> None:
        """PSNR of the averaged weights, RGB, on frames predicted from both neighbours, beside frame blending's."""
        if self.val is None:
            return
        figures = validate(self.ema.module, self.val, self.config.val_frames)
        self.metrics = {"step": self.global_step, "frames_a_clip": self.config.val_frames, **figures}
        gains = [a - b for a, b in zip(figures["psnr"], figures["psnr_blend"], strict=True)]
        mean = sum(figures["psnr"]) / len(gains)
        self.log_dict(
            {"val_psnr": mean, "val_gain": sum(gains) / len(gains), "val_worst_gain": min(gains)}, batch_size=1
        )
        print(
            f"step {self.global_step}: val {mean:.3f} dB, over blending {sum(gains) / len(gains):+.3f} on the mean, "
            f"per clip {' '.join(f'{gain:+.2f}' for gain in gains)}",
            flush=True,
        )


@torch.no_grad()
def validate(model: torch.nn.Module, pack: Pack, frames_a_clip: int) -> dict[str, list[float]]:
    """RGB PSNR of each clip's odd frames predicted from their even neighbours, mean over frames, one value a clip.

    frames_a_clip  how many odd frames, evenly spread; 0: all of them
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    figures: dict[str, list[float]] = {"psnr": [], "psnr_blend": []}
    for frames in pack.frames:
        odd = list(range(1, len(frames) - 1, 2))
        if frames_a_clip:
            odd = [odd[(2 * i + 1) * len(odd) // (2 * frames_a_clip)] for i in range(min(frames_a_clip, len(odd)))]
        rows = []
        for i in odd:
            before, truth, after = (frames[j].to(device).float() / 255 for j in (i - 1, i, i + 1))
            h, w = truth.shape[1:]
            clip = torch.stack([before, after], dim=1).unsqueeze(0)
            clip = F.pad(clip, (0, -w % 4, 0, -h % 4, 0, 0), mode="replicate")
            middle = model(clip)[0, :, 2, :h, :w]
            rows.append((psnr(to_8bit(middle), truth), psnr(to_8bit((before + after) / 2), truth)))
        for name, column in zip(figures, zip(*rows, strict=True), strict=True):
            figures[name].append(sum(column) / len(column))
    model.train(was_training)
    return figures


def to_8bit(frame: Tensor) -> Tensor:
    """What a file would hold: clamped to [0, 1] and rounded to a 255th."""
    return (frame.clamp(0, 1) * 255).round() / 255


def psnr(frame: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over all values, peak 1."""
    return -10 * math.log10(max(float((frame - truth).square().mean()), 1e-10))


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


def guide_at(config: TrainConfig, step: int) -> float:
    """Weight of the classical offsets: full at the start, then falling, none from `guide_until` on."""
    if not config.guide or step >= config.guide_until:
        return 0.0
    return config.guide * (1 - step / config.guide_until)


def charbonnier(output: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2)."""
    return ((output - target).square() + epsilon**2).sqrt().mean()


def rate(config: TrainConfig, step: int) -> float:
    """Learning rate relative to its highest: linear warm-up, then a cosine down to the floor."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    done = min(1.0, step / config.steps)
    return warm * (config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * done)))


def kinds_at(config: TrainConfig, step: int) -> list[Motion]:
    """The curriculum: the first kind of motion alone at the start, all in their proportions from `widen_until` on."""
    first, *others = config.motion
    share = min(1.0, step / config.widen_until) if config.widen_until else 1.0
    return [first, *(Motion(kind.gap, kind.shrink, kind.weight * share) for kind in others)]
