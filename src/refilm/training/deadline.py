"""The end of a training that is told how long it may take."""

from __future__ import annotations

from time import monotonic
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from refilm.training.config import TrainConfig
from refilm.training.problem import Problem

# enough to choose between trainings; `refilm eval` measures every frame
FRAMES_A_CLIP = 4


class Deadline(Callback):
    """Stops a training so early that its last validation, too, ends within the given number of minutes.

    exports   whether a weight file is made afterwards, whose figures take time as well

    Validations are timed. How long the first one takes is estimated before the first step, on one clip.
    """

    def __init__(self, minutes: float | None, config: TrainConfig, exports: bool = False) -> None:
        self._end = None if minutes is None else monotonic() + 60 * minutes
        self._config, self._exports = config, exports
        self._validation = self._export = self._step = self._began = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, Problem)
        if self._end is None or pl_module.val is None or monotonic() >= self._end:
            return
        self._validation = seconds_to_measure(pl_module, self._config.val_frames)
        if self._exports:
            self._export = pl_module.seconds_to_read_val + seconds_to_measure(pl_module, FRAMES_A_CLIP)

    def on_validation_start(self, *_: Any) -> None:
        self._began = monotonic()

    def on_validation_end(self, *_: Any) -> None:
        self._validation = monotonic() - self._began

    def on_train_batch_start(self, *_: Any) -> None:
        self._began = monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if self._end is None:
            return
        now = monotonic()
        self._step = now - self._began
        # a validation follows each stop; one that is due now would be another
        due = self._validation if trainer.global_step % self._config.val_every == 0 else 0.0
        late = now + due + self._step + self._validation + self._export > self._end
        # all processes must stop after the same step, or the remaining ones would wait for ever
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(late, all=False)


def seconds_to_measure(problem: Problem, frames_a_clip: int) -> float:
    """How long `problem.measure` takes, estimated on one clip of the validation set. See there for `frames_a_clip`."""
    clips = len(problem.val)
    if problem.device.type != "cpu":  # the first time, an accelerator also loads its kernels
        problem.measure(problem.ema.module, frames_a_clip, clips=1)
    began = monotonic()
    problem.measure(problem.ema.module, frames_a_clip, clips=1)
    return (monotonic() - began) * clips
