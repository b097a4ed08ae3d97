"""The config and the problem with which models of each task, and parts of models, are trained."""

from __future__ import annotations

from dataclasses import dataclass

from refilm.models.table import row_of
from refilm.training.compression import PictureCompression, VideoCompression
from refilm.training.compression_config import PictureCompressionConfig, VideoCompressionConfig
from refilm.training.config import (
    DeblurringConfig,
    FlowConfig,
    InterpolationConfig,
    MorphingConfig,
    RecognitionConfig,
    RestorationConfig,
    TrainConfig,
)
from refilm.training.deblurring import Deblurring
from refilm.training.detection import Detection
from refilm.training.detection_config import DetectionConfig
from refilm.training.flow import Flow
from refilm.training.interpolation import Interpolation
from refilm.training.morphing import Morphing
from refilm.training.problem import Problem
from refilm.training.recognition import Recognition
from refilm.training.restoration import Restoration


@dataclass(frozen=True)
class Trainer:
    """How models of one task, or parts of one kind, are trained.

    config    the settings that a recipe may have
    problem   training data, loss and validation
    """

    config: type[TrainConfig]
    problem: type[Problem]


TRAINERS: dict[str, Trainer] = {
    "denoising": Trainer(RestorationConfig, Restoration),
    "deblocking": Trainer(RestorationConfig, Restoration),
    "deblurring": Trainer(DeblurringConfig, Deblurring),
    "super-resolution": Trainer(RestorationConfig, Restoration),
    "interpolation": Trainer(InterpolationConfig, Interpolation),
    "recognition": Trainer(RecognitionConfig, Recognition),
    "detection": Trainer(DetectionConfig, Detection),
    "compression": Trainer(VideoCompressionConfig, VideoCompression),
}

# by the kind of part, see `refilm.models.table.PARTS`
TRAINERS_OF_PARTS: dict[str, Trainer] = {
    "motion": Trainer(FlowConfig, Flow),
    "morphing": Trainer(MorphingConfig, Morphing),
    "picture compression": Trainer(PictureCompressionConfig, PictureCompression),
}


def trainer_of(model: str) -> Trainer:
    """The trainer of a model or part by its name. Raises ValueError if there is none of that name."""
    return (TRAINERS | TRAINERS_OF_PARTS)[row_of(model).task]
