"""Which settings and which problem belong to the training of each task."""

from __future__ import annotations

from dataclasses import dataclass

from refilm.training.config import InterpolationConfig, RestorationConfig, TrainConfig
from refilm.training.interpolation import Interpolation
from refilm.training.problem import Problem
from refilm.training.restoration import Restoration


@dataclass(frozen=True)
class Trainer:
    """How models of one task are trained.

    config    what a recipe may set
    problem   what a step computes, and how a model is validated
    """

    config: type[TrainConfig]
    problem: type[Problem]


TRAINERS: dict[str, Trainer] = {
    "denoising": Trainer(RestorationConfig, Restoration),
    "deblocking": Trainer(RestorationConfig, Restoration),
    "super-resolution": Trainer(RestorationConfig, Restoration),
    "interpolation": Trainer(InterpolationConfig, Interpolation),
}
