"""The stage of each task, and the chain of stages for several tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from refilm.errors import UsageError
from refilm.models import create_model
from refilm.models.table import weights_name
from refilm.options import frame_rate
from refilm.stages.stage import Chain, Stage, StreamShape
from refilm.tasks import Task
from refilm.video import VideoInfo


@dataclass(frozen=True)
class Work:
    """One task of a job with its model. Can be pickled: the model is left out, and made again on first use.

    weights   as for `create_model`: "default", the path of a file, or None for random initialisation
    options   the task's own options, an instance of `task.options`
    through   the works whose models make what this one's model is shown, see `options.Recognize.through`
    """

    task: Task
    model_name: str
    weights: str | None
    options: Any
    through: tuple[Work, ...] = ()

    @cached_property
    def model(self) -> Any:
        """The model in evaluation mode, made on the CPU on first use; `stage` moves it to its device."""
        return create_model(self.model_name, weights=self.weights).eval()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "model"}

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the result of the task depends on, for the identity of a job."""
        through = {"through": [work.settings for work in self.through]} if self.through else {}
        return {"model": self.model_name, "weights": self.weights_file, **self.options.settings(), **through}

    @property
    def weights_files(self) -> tuple[str, ...]:
        """`weights_file` of this work and of those that it works through, as far as they have weights."""
        files = (*(work.weights_file for work in self.through), self.weights_file)
        return tuple(file for file in files if file is not None)

    @cached_property
    def weights_file(self) -> str | None:
        """The name of the weights by their content, so that a renamed file is the same; None if there are none.

        Raises WeightsError if the file cannot be read.
        """
        return weights_name(self.model_name, self.weights)

    def stage(self, source: StreamShape, device: str, tile: int | None, precision: str = "float32") -> Stage:
        """A new stage.

        source      the properties of the stream that it is fed
        tile        side of the tiles in pixels; None: no tiles
        precision   see `options.Running`

        Raises UsageError if the options do not fit the model.
        """
        if precision != "float32" and self.task.makes != "pictures":
            raise UsageError(f"{self.task.verb} computes in float32; leave out precision, which is for making pictures")
        self.model.to(device)
        self.model.precision = precision
        return STAGES[self.task.name](self, source, device, tile)


def check_tile(works: Sequence[Work], tile: int | None) -> None:
    """Raises UsageError for tiles where no model works in tiles."""
    if tile is not None and all(work.model.reach is None for work in works):
        names = " and ".join(work.model_name for work in works)
        raise UsageError(f"{names} needs the whole picture at once; leave out tile")


@dataclass(frozen=True)
class TaskStages:
    """Makes the chain of the stages of `works`, in this order; see `refilm.jobs.pieces.PieceSpec.make_stage`."""

    works: tuple[Work, ...]
    device: str
    precision: str = "float32"

    def __call__(self, source: VideoInfo, tile: int | None) -> Stage:
        """The chain, or the only stage. `tile` as for `Work.stage`.

        Raises UsageError if the options do not fit the models.
        """
        check_tile(self.works, tile)
        several = [work.task.verb for work in self.works if work.task.retimes]
        if source.is_picture and several:
            raise UsageError(
                f"{source.path}: is a single picture, and {several[0]} looks at frames that follow each other"
            )
        shape, stages = StreamShape.of(source), list[Stage]()
        for work in self.works:
            stages.append(work.stage(shape, self.device, tile, self.precision))
            shape = stages[-1].shape(shape)
        return stages[0] if len(stages) == 1 else Chain(stages)


@dataclass(frozen=True)
class PicturedStages(TaskStages):
    """The same for recognition alone, with a picture of each stretch of film."""

    def __call__(self, source: VideoInfo, tile: int | None) -> Stage:
        from refilm.stages.recognize import Recognize

        stage = super().__call__(source, tile)
        assert isinstance(stage, Recognize)
        stage.keeps_pictures = True
        return stage


def _denoise(work: Work, _: StreamShape, device: str, tile: int | None) -> Stage:
    from refilm.stages.damage import NoiseJudge  # loads torch, as do models and the stages below
    from refilm.stages.restore import Restore
    from refilm.stages.running import Treatment

    own = work.options
    is_measured = own.sigma is None and own.strength is None
    treat = NoiseJudge() if is_measured else Treatment(1.0 if own.strength is None else own.strength)
    return Restore("denoise", work.model, {"sigma_8bit": own.sigma}, device, tile, treat=treat)


def _deblock(work: Work, _: StreamShape, device: str, tile: int | None) -> Stage:
    from refilm.stages.damage import CodingJudge
    from refilm.stages.restore import Restore
    from refilm.stages.running import Treatment

    strength = work.options.strength
    treat = CodingJudge() if strength is None else Treatment(strength)
    return Restore("deblock", work.model, None, device, tile, treat=treat)


def _upscale(work: Work, _: StreamShape, device: str, tile: int | None) -> Stage:
    from refilm.stages.restore import Restore

    scale, largest = work.options.scale or work.model.scale, work.model.scale
    if scale > largest or (scale < 2 <= largest):
        factors = ", ".join(map(str, range(2, largest + 1)))
        raise UsageError(f"{work.model_name} upscales by {factors}, not by {scale}")
    return Restore("upscale", work.model, None, device, tile, scale=scale)


def _deblur(work: Work, source: StreamShape, device: str, tile: int | None) -> Stage:
    from refilm.stages.interpolate import Interpolate  # loads torch, as do models

    times, step = work.options.times, source.usual_step
    return Interpolate(work.model, times, None, source.start_time, device, tile, usual_step=step)


def _interpolate(work: Work, source: StreamShape, device: str, tile: int | None) -> Stage:
    from refilm.stages.interpolate import Interpolate  # loads torch, as do models

    own = work.options
    return Interpolate(
        work.model,
        own.times_or_default,
        None if own.fps is None else frame_rate(own.fps),
        source.start_time,
        device,
        tile,
        usual_step=source.usual_step,
        drop_repeats=own.drop_repeats,
    )


def _recognize(work: Work, source: StreamShape, device: str, _: int | None) -> Stage:
    from refilm.stages.recognize import Recognize  # loads torch

    own = work.options
    through = [each.model.to(device) for each in work.through]
    return Recognize(work.model, source, device, own.length, own.shots, through)


def _detect(work: Work, source: StreamShape, device: str, _: int | None) -> Stage:
    from refilm.stages.detect import Detect  # loads torch

    return Detect(work.model, source, device, work.options.min_score)


def _encode(work: Work, _: StreamShape, device: str, tile: int | None) -> Stage:
    from refilm.stages.coded_pictures import Compress  # loads torch

    own = work.options
    quality = own.quality_or_default
    if quality is not None and quality > work.model.qualities:
        if own.quality is not None:
            raise UsageError(f"{work.model_name} has qualities from 1 to {work.model.qualities}, got {quality}")
        quality = work.model.qualities
    return Compress(work.model, quality, own.effort, own.gop, device, own.bpp)


STAGES: dict[str, Callable[[Work, StreamShape, str, int | None], Stage]] = {
    "denoising": _denoise,
    "deblocking": _deblock,
    "deblurring": _deblur,
    "super-resolution": _upscale,
    "interpolation": _interpolate,
    "recognition": _recognize,
    "detection": _detect,
    "compression": _encode,
}
