"""How long trainings will take, from a few steps of each."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from refilm.training.config import TrainConfig
from refilm.training.deadline import FRAMES_A_CLIP, seconds_to_measure
from refilm.training.problem import Problem
from refilm.training.trainers import trainer_of

_CLIPS = 12  # training clips that are read for a trial
_STEPS = 3  # steps of a trial that are timed, after a first one that is not


def seconds_of_training(config: TrainConfig, steps: int, device: str) -> float:
    """How long `steps` of a training take, with its data sets, its validations and what `measure` does at its end.

    device   Lightning's accelerator: "auto", "cpu", "gpu"

    Raises RefilmError and ValueError where the training itself would.
    """
    began = time.monotonic()
    trial = replace(config, train_clips=min(_CLIPS, config.train_clips or _CLIPS), val_clips=1)
    problem = trainer_of(config.model).problem.read(trial)
    reading = time.monotonic() - began - problem.seconds_to_read_val
    clips, val_clips = problem.counted(config)
    seconds = reading * max(1.0, clips / trial.train_clips)
    if steps:
        seconds += steps * _seconds_of_step(problem, device)
    if problem.val is not None:
        more = max(1.0, val_clips / len(problem.val))  # clips of the validation set, to one of the trial's
        validations = -(-steps // config.val_every) * seconds_to_measure(problem, config.val_frames)
        seconds += more * (validations + seconds_to_measure(problem, FRAMES_A_CLIP) + 2 * problem.seconds_to_read_val)
    return seconds


def _seconds_of_step(problem: Problem, device: str) -> float:
    where = torch.device("cpu")
    if device != "cpu" and torch.accelerator.is_available():
        where = torch.accelerator.current_accelerator() or where
    problem.to(where)
    for name in ("log", "log_dict"):  # there is no trainer yet that takes them
        setattr(problem, name, lambda *_, **__: None)
    optimizer = problem.configure_optimizers()["optimizer"]
    seconds = 0.0
    for step in range(1 + _STEPS):
        began = time.monotonic()
        with torch.autocast(where.type, torch.bfloat16, enabled=problem.config.precision == "bfloat16"):
            loss = problem.loss_of(step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        problem.ema.update_parameters(problem.model)
        if where.type != "cpu":
            torch.accelerator.synchronize()
        seconds += time.monotonic() - began if step else 0.0
    return seconds / _STEPS


def in_words(seconds: float) -> str:
    """A time in words, such as "40 s", "12 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
