"""The config and the problem with which models of each task are trained."""

from __future__ import annotations

from dataclasses import dataclass

from refilm.training.config import InterpolationConfig, RestorationConfig, TrainConfig
from refilm.training.interpolation import Interpolation
from refilm.training.problem import Problem
from refilm.training.restoration import Restoration


@dataclass(frozen=True)
class Trainer:
    """How models of one task are trained.

    config    the settings that a recipe may have
    problem   training data, loss and validation
    """

    config: type[TrainConfig]
    problem: type[Problem]


TRAINERS: dict[str, Trainer] = {
    "denoising": Trainer(RestorationConfig, Restoration),
    "deblocking": Trainer(RestorationConfig, Restoration),
    "super-resolution": Trainer(RestorationConfig, Restoration),
    "interpolation": Trainer(InterpolationConfig, Interpolation),
}
