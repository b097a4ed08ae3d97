"""What all trainings have in common: optimiser, moving average of the weights, logging and validation."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import lightning
import torch
import torch.nn.functional as F
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from refilm.data import Limits, Pack, read_packs, read_split
from refilm.data.pack import entries, split_entries
from refilm.errors import RefilmError
from refilm.evaluation.pictures import write_strip
from refilm.layers.ls3d import sampling_parameters
from refilm.models import create_model
from refilm.models.table import fill
from refilm.training.config import TrainConfig
from refilm.training.losses import charbonnier, log_error
from refilm.weights import load_weights


class Problem(lightning.LightningModule):
    """A model with its training data, loss and validation. Subclasses define `draw`, `loss` and
    `validate`.

    protocol   description of what `validate` measures, for the weight file
    plain      name of the plain alternative that `validate` also measures
    figure     name and unit of the figure that it measures; more is better
    measures_frames   whether `validate` measures frames of each clip, and not whole clips
    learned_from      what a weight file says of the material, such as the fold of a labelled set
    pictures   folder for one strip of pictures per validation; None: none are written
    shown      the pictures of that strip, [3, H, W] each, set by `validate`: plain alternative, result, truth
    seconds_to_read_val   how long it took to read the validation set
    """

    protocol: str
    plain: str
    figure: tuple[str, str] = ("psnr", "dB")
    measures_frames: bool = True
    learned_from: Mapping[str, Any] = MappingProxyType({})
    pictures: Path | None = None
    shown: tuple[Tensor, ...] = ()
    seconds_to_read_val: float = 0.0

    def __init__(self, config: TrainConfig, val: Any) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(config.seed)
        self.model: Any = create_model(config.model, weights=None, **config.config)
        self.begin()
        self.ema = AveragedModel(self.model, multi_avg_fn=self._average, use_buffers=True).requires_grad_(False)
        self.val = val

    def begin(self) -> None:
        """Load the weights from which the training starts, before their average begins."""
        if self.config.start:
            fill(self.model, load_weights(self.config.start), strict=False)

    @classmethod
    def read(cls, config: TrainConfig, train: bool = True) -> Self:
        """The problem of a config, with its data sets read into memory, without the training set if train=False."""
        if not (config.train or config.data):
            raise RefilmError("nothing to train on: give a folder of films, clips or a data set by --data FOLDER")
        clips = Pack([], [])
        if train:
            limits = Limits(config.clip_frames or None, int(1e9 * config.max_gb), config.train_clips or None)
            clips = (
                read_split(config.data, "train", limits) if config.data else read_packs(*config.train, limits=limits)
            )
        began = time.monotonic()
        val = None
        if config.data:
            val = read_split(config.data, "test", Limits(max_clips=config.val_clips)) or None
        elif config.val:
            val = read_packs(config.val)
        problem = cls(config, clips, val)  # type: ignore[call-arg]
        problem.seconds_to_read_val = time.monotonic() - began
        return problem

    @classmethod
    def counted(cls, config: TrainConfig) -> tuple[int, int]:
        """The number of clips that a training reads, and of those of `data` that it validates on; 0 without."""
        if config.data:
            train, val = (len(split_entries(config.data, split)) for split in ("train", "test"))
            return min(train, config.train_clips or train), min(val, config.val_clips)
        train = sum(len(entries(folder)) for folder in config.train)
        return min(train, config.train_clips or train), 0

    def draw(self, step: int) -> Any:
        """Batch number `step`: tensors on the CPU, in named tuples, tuples or lists.

        It must depend on that number and the seed only, so that a resumed training sees the same batches as one that
        was not interrupted. It is called ahead of time, and in processes of their own (`training.batches`).
        """
        raise NotImplementedError

    def loss(self, batch: Any, step: int) -> Tensor:
        """The loss of batch number `step`, whose tensors are on the model's device."""
        raise NotImplementedError

    def loss_of(self, step: int) -> Tensor:
        """Draw batch number `step`, and give its loss."""
        return self.loss(move_data_to_device(self.draw(step), self.device), step)

    def finish(self, model: Any) -> None:
        """Bring up to date what a trained model derives from its weights, before it is measured and exported."""
        return

    def distance(self, output: Tensor, truth: Tensor) -> Tensor:
        """The loss between a result and the truth that the config names."""
        if self.config.loss == "psnr":
            return log_error(output, truth)
        if self.config.loss == "mse":
            return F.mse_loss(output, truth)
        if self.config.loss == "huber":
            return F.huber_loss(output, truth, delta=self.config.epsilon)
        return charbonnier(output, truth, self.config.epsilon)

    def validate(self, model: torch.nn.Module, val: Any, frames_a_clip: int) -> dict[str, list[float]]:
        """Measure a model on the validation clips.

        frames_a_clip  number of frames measured in each clip, evenly spread; 0: all that the protocol measures
        out            by name, one value per clip: the figure of the model ("psnr"), and that of the plain alternative
                       ("psnr_plain")
        """
        raise NotImplementedError

    @torch.no_grad()
    def measure(self, model: torch.nn.Module, frames_a_clip: int, clips: int | None = None) -> dict[str, list[float]]:
        """`validate` on the validation set, or on its first `clips`, with the model in evaluation mode."""
        assert self.val is not None
        was_training = model.training
        model.eval()
        figures = self.validate(model, self.val if clips is None else self.val[:clips], frames_a_clip)
        model.train(was_training)
        return figures

    @torch.no_grad()
    def _average(self, averages: Any, values: Any, count: Tensor | int) -> None:
        if not values[0].is_floating_point():
            torch._foreach_copy_(averages, values)
            return
        # a smaller decay at the start, or the average would be dominated by the initialisation
        decay = min(self.config.ema_decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averages, values, 1 - decay)

    def configure_optimizers(self) -> Any:
        groups: dict[float, list[torch.nn.Parameter]] = {}
        relative = self.relative_rates()
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(relative.get(name, 1.0) * self.config.learning_rate, []).append(parameter)
        optimizer = self.optimizer([{"params": parameters, "lr": rate} for rate, parameters in groups.items()])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(self.config, step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def relative_rates(self) -> dict[str, float]:
        """By the name of a parameter, its learning rate relative to the others, where that is not 1."""
        return dict.fromkeys(sampling_parameters(self), self.config.sampling_rate)

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimiser of these groups of parameters, which have their own learning rates."""
        return torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=self.config.weight_decay)

    def training_step(self, drawn: tuple[Any, int], index: int) -> Tensor:
        loss = self.loss(*drawn)
        if not loss.isfinite():
            advice = "lower learning_rate" + ', or set precision = "float32"' * (self.config.precision != "float32")
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.global_step}; {advice}")
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
        """Measure the averaged weights and the plain alternative, and log, print and draw the result."""
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
                f"the mean{self.further(figures, gains)}",
                flush=True,
            )

    def further(self, figures: dict[str, list[float]], gains: list[float]) -> str:
        """What the line about a validation also says; `gains` are those over the plain alternative, clip by clip."""
        return f", per clip {' '.join(f'{gain:+.2f}' for gain in gains)}"


def rate(config: TrainConfig, step: int) -> float:
    """Learning rate relative to the highest: linear warm-up, and a cosine down to `floor` at `steps`."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    done = min(1.0, step / config.steps)
    return warm * (config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * done)))
