"""What every training does: the optimiser, the running mean of the weights, the log, the validation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from refilm.data import Pack, read_packs
from refilm.evaluation.pictures import write_strip
from refilm.layers.ls3d import sampling_parameters
from refilm.models import create_model
from refilm.models.table import fill
from refilm.training.config import TrainConfig
from refilm.training.losses import charbonnier, log_error
from refilm.weights import load_weights


class Problem(lightning.LightningModule):
    """What a model is trained on. A subclass says what a step computes and how a model is measured.

    protocol   what `validate` measures, for the weight file
    plain      name of the plain alternative it measures beside it
    figure     what it measures, more is better, and the unit
    """

    protocol: str
    plain: str
    figure: tuple[str, str] = ("psnr", "dB")
    pictures: Path | None = None  # the folder for a strip a validation: plain alternative, result, truth
    shown: tuple[Tensor, ...] = ()

    def __init__(self, config: TrainConfig, val: Any) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(config.seed)
        self.model: Any = create_model(config.model, weights=None, **config.config)
        if config.start:
            fill(self.model, load_weights(config.start), strict=False)
        self.ema = AveragedModel(self.model, multi_avg_fn=self._average, use_buffers=True).requires_grad_(False)
        self.val = val

    @classmethod
    def read(cls, config: TrainConfig, train: bool = True) -> Self:
        """With the recipe's sets in memory; train=False leaves the training set out."""
        clips = read_packs(*config.train, max_frames=config.clip_frames or None) if train else Pack([], [])
        return cls(config, clips, read_packs(config.val) if config.val else None)  # type: ignore[call-arg]

    def loss_of(self, step: int) -> Tensor:
        """The loss of one batch. Its number alone decides the batch: a resumed training goes on with the next one."""
        raise NotImplementedError

    def distance(self, output: Tensor, truth: Tensor) -> Tensor:
        """How far a result is from the truth, as the recipe has it."""
        if self.config.loss == "psnr":
            return log_error(output, truth)
        return charbonnier(output, truth, self.config.epsilon)

    def validate(self, model: torch.nn.Module, val: Any, frames_a_clip: int) -> dict[str, list[float]]:
        """The figure of the model and, under its name with "_plain", of the plain alternative; a value a clip.

        frames_a_clip  how many, evenly spread; 0: as many as the protocol has
        """
        raise NotImplementedError

    @torch.no_grad()
    def measure(self, model: torch.nn.Module, frames_a_clip: int) -> dict[str, list[float]]:
        """`validate` on the validation pack, in evaluation mode."""
        assert self.val is not None
        was_training = model.training
        model.eval()
        figures = self.validate(model, self.val, frames_a_clip)
        model.train(was_training)
        return figures

    @torch.no_grad()
    def _average(self, averages: Any, values: Any, count: Tensor | int) -> None:
        # young averages forget faster, or they would be made of the initialisation
        decay = min(self.config.ema_decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averages, values, 1 - decay)

    def configure_optimizers(self) -> Any:
        groups: dict[float, list[torch.nn.Parameter]] = {}
        sampling = sampling_parameters(self)
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                relative = self.config.sampling_rate if name in sampling else 1.0
                groups.setdefault(relative * self.config.learning_rate, []).append(parameter)
        optimizer = torch.optim.AdamW(
            [{"params": parameters, "lr": rate} for rate, parameters in groups.items()],
            betas=(0.9, 0.99),
            weight_decay=self.config.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(self.config, step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, _: Any, index: int) -> Tensor:
        # every process draws its own batch, and one process alone those of all numbers in turn
        loss = self.loss_of(self.global_step * self.trainer.world_size + self.trainer.global_rank)
        if not loss.isfinite():
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.global_step}; lower learning_rate")
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        norms = torch.stack([p.grad.norm() for p in self.model.parameters() if p.grad is not None])
        self.log("gradient_norm", norms.norm(), batch_size=1)
        names = sampling_parameters(self.model)
        sampling = [p.grad.norm() for name, p in self.model.named_parameters() if name in names and p.grad is not None]
        if sampling:
            self.log("sampling_gradient_norm", torch.stack(sampling).norm(), batch_size=1)

    def on_train_batch_end(self, *_: Any) -> None:
        self.ema.update_parameters(self.model)

    def validation_step(self, *_: Any) -> None:
        """The figure of the averaged weights beside the plain alternative's."""
        if self.val is None:
            return
        figures = self.measure(self.ema.module, self.config.val_frames)
        if self.pictures is not None and self.shown and self.trainer.is_global_zero:
            write_strip(self.pictures / f"{self.global_step:06d}.png", self.shown)
        name, unit = self.figure
        gains = [a - b for a, b in zip(figures[name], figures[f"{name}_plain"], strict=True)]
        mean = sum(figures[name]) / len(gains)
        self.log_dict(
            {f"val_{name}": mean, "val_gain": sum(gains) / len(gains), "val_worst_gain": min(gains)}, batch_size=1
        )
        if self.trainer.is_global_zero:
            print(
                f"step {self.global_step}: val {mean:.3f} {unit}, over {self.plain} {sum(gains) / len(gains):+.3f} on "
                f"the mean, per clip {' '.join(f'{gain:+.2f}' for gain in gains)}",
                flush=True,
            )


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` of the places 0 ... count - 1, evenly spread; all of them for 0."""
    if not wanted:
        return list(range(count))
    wanted = min(wanted, count)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def rate(config: TrainConfig, step: int) -> float:
    """Learning rate relative to its highest: linear warm-up, then a cosine down to the floor."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    done = min(1.0, step / config.steps)
    return warm * (config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * done)))
