"""The stage of each task, and the chain of stages for several tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from refilm import options
from refilm.errors import UsageError
from refilm.models import MODELS, create_model
from refilm.options import frame_rate
from refilm.stages.interpolate import Interpolate
from refilm.stages.restore import Restore
from refilm.stages.stage import Chain, Stage
from refilm.tasks import Task
from refilm.video import VideoInfo


@dataclass(frozen=True)
class Work:
    """One task of a job with its model. Can be pickled: the model is left out, and made again on first use.

    weights   as for `create_model`: "default", the path of a file, or None for random initialisation
    options   the task's own options, an instance of `task.options`
    """

    task: Task
    model_name: str
    weights: str | None
    options: Any

    @cached_property
    def model(self) -> Any:
        """The model in evaluation mode, made on the CPU on first use; `stage` moves it to its device."""
        return create_model(self.model_name, weights=self.weights).eval()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "model"}

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the result of the task depends on, for the identity of a job."""
        return {"model": self.model_name, "weights": self.weights_file, **self.options.settings()}

    @property
    def weights_file(self) -> str | None:
        """The name of the weight file; None if there is none."""
        if self.weights == "default":
            return MODELS[self.model_name].weights
        return None if self.weights is None else Path(self.weights).name

    def stage(self, start_time: Fraction, device: str, tile: int | None) -> Stage:
        """A new stage.

        start_time   time of the first source frame, in seconds
        tile         side of the tiles in pixels; None: no tiles

        Raises UsageError if the options do not fit the model.
        """
        self.model.to(device)
        return STAGES[self.task.name](self, start_time, device, tile)


@dataclass(frozen=True)
class TaskStages:
    """Makes the chain of the stages of `works`, in this order; see `refilm.jobs.pieces.PieceSpec.make_stage`."""

    works: tuple[Work, ...]
    device: str

    def __call__(self, source: VideoInfo, tile: int | None) -> Stage:
        return Chain([work.stage(source.start_time, self.device, tile) for work in self.works])


def _restore(work: Work, _: Fraction, device: str, tile: int | None) -> Stage:
    told = {"sigma_8bit": work.options.sigma} if isinstance(work.options, options.Denoise) else {}
    return Restore(work.task.verb, work.model, told, device, tile)


def _upscale(work: Work, start_time: Fraction, device: str, tile: int | None) -> Stage:
    if work.options.scale not in (None, work.model.scale):
        raise UsageError(f"{work.model_name} upscales by {work.model.scale}, not by {work.options.scale}")
    return _restore(work, start_time, device, tile)


def _interpolate(work: Work, start_time: Fraction, device: str, tile: int | None) -> Stage:
    fps = work.options.fps
    rate = None if fps is None else frame_rate(fps)
    return Interpolate(work.model, work.options.times_or_default, rate, start_time, device, tile)


STAGES: dict[str, Callable[[Work, Fraction, str, int | None], Stage]] = {
    "denoising": _restore,
    "deblocking": _restore,
    "super-resolution": _upscale,
    "interpolation": _interpolate,
}
