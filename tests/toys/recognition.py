"""Watching: a task that says when a film gets brighter and when darker; all that the README asks of a task.

Each section is a file of its own in the package: options.py, tasks.py, models/, stages/, training/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refilm.data import read_clip
from refilm.models.contract import Recognizer
from refilm.options import Options
from refilm.stages.demand import Demand
from refilm.stages.findings import Finding
from refilm.stages.running import Later, Shot, Windows
from refilm.stages.stage import StreamShape
from refilm.stages.steps import Step, memory_of
from refilm.stages.table import Work
from refilm.tasks import Task
from refilm.training.config import TrainConfig
from refilm.training.problem import Problem
from refilm.video import Frame

# --- options.py and tasks.py ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Watch(Options):
    """Watching has no options."""


WATCHING = Task(
    "watching",
    "watch",
    "events",
    Watch,
    "watching-accuracy",
    "Say when a film gets brighter and when darker.\n\nrefilm watch film.mp4 events.jsonl",
    figure="accuracy",
)

# --- models/tell.py ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TellConfig:
    """window   frames in, odd; what is said holds for the middle one"""

    window: int = 3


class Tell(nn.Module, Recognizer):
    """One linear layer on how the mean level changes from frame to frame."""

    task = "watching"
    reach = None
    labels = ("brighter", "darker")

    def __init__(self, config: TellConfig = TellConfig()) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.window - 1, len(self.labels), bias=False)
        nn.init.zeros_(self.linear.weight)

    @property
    def window(self) -> int:
        return self.config.window

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, T, H, W] -> logits [N, 2]"""
        levels = clip.mean(dim=(1, 3, 4))  # [N, T]
        logits: Tensor = self.linear(levels.diff(dim=1))
        return logits


# --- stages/watch.py --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Beginning:
    """From `time` on the film does what the label says."""

    time: Fraction
    label: str

    def as_json(self) -> dict[str, Any]:
        return {"time": str(self.time), "seconds": float(self.time), "label": self.label}


class Watching:
    """An event where a scene begins, and where the label is another than that of the frame before."""

    keeps_rate = False
    findings: dict[str, Finding] = {}  # noqa: RUF012  # nothing to note

    def __init__(self, model: Recognizer, device: str) -> None:
        self._model, self._device = model, device
        self._windows: Windows[Frame] = Windows(model.window // 2)
        # the label of the frame before a segment's first has to be right as well
        self.past, self.future = self._windows.radius + 1, self._windows.radius
        self._before: str | None = None

    def shape(self, source: StreamShape) -> StreamShape:
        return source

    def demands(self, source: StreamShape) -> list[Demand]:
        def clip(width: int, height: int) -> tuple[Tensor]:
            return (torch.rand(1, 3, self._model.window, height, width, device=self._device),)

        size = source.width, source.height
        at_once = memory_of(Step("watch", clip, self._model), self._model, *size, self._device)
        held = self._model.window * (3 + 12) * source.width * source.height
        return [Demand("watch", held, at_once=at_once, width=source.width, height=source.height)]

    def push(self, frame: Frame) -> Iterator[Beginning]:
        return self._events(self._windows.push(Shot(frame, frame.starts_scene, Later(lambda: frame.rgb))))

    def flush(self) -> Iterator[Beginning]:
        yield from self._events(self._windows.flush())
        self._before = None

    def _events(self, windows: Iterable[list[Shot[Frame]]]) -> Iterator[Beginning]:
        for window in windows:
            frame = window[self._windows.radius].key
            with torch.inference_mode():
                clip = torch.stack([shot.picture() for shot in window], dim=1)[None].to(self._device)
                label = self._model.labels[int(self._model(clip).argmax())]
            if frame.starts_scene or label != self._before:
                yield Beginning(frame.time, label)
            self._before = label


# stages/table.py
def watch(work: Work, source: StreamShape, device: str, tile: int | None) -> Watching:
    return Watching(work.model, device)


# --- training/watching.py ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WatchingConfig(TrainConfig):
    """What watching is told besides; `train` and `val` name folders that have a folder of clips for each class.

    classes   the names of those folders, in the order of the model's labels
    """

    classes: tuple[str, ...] = ("brighter", "darker")


@dataclass(frozen=True)
class Labelled:
    """A clip, frames_u8 [T, 3, H, W], and the number of its class."""

    frames: Tensor
    label: int


class WatchingProblem(Problem):
    """Trains on windows of labelled clips."""

    config: WatchingConfig
    protocol = "share of the windows that are told right, a value a clip"
    plain = "chance"
    figure = "accuracy", "of the windows"

    def __init__(self, config: WatchingConfig, train: list[Labelled], val: list[Labelled] | None) -> None:
        super().__init__(config, val)
        self.clips = train

    @classmethod
    def read(cls, config: TrainConfig, train: bool = True) -> Self:
        assert isinstance(config, WatchingConfig)

        def clips(folder: str) -> list[Labelled]:
            return [
                Labelled(read_clip(path), label)
                for label, name in enumerate(config.classes)
                for path in sorted(Path(folder, name).iterdir())
            ]

        taught = [clip for folder in config.train for clip in clips(folder)] if train else []
        return cls(config, taught, clips(config.val) if config.val else None)

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        chosen = torch.randint(len(self.clips), (self.config.batch,), generator=random).tolist()
        windows = torch.stack([self._window(self.clips[n].frames, 0) for n in chosen])
        return windows, torch.tensor([self.clips[n].label for n in chosen])

    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> Tensor:
        windows, labels = batch
        loss = F.cross_entropy(self.model(windows), labels)
        self.log("loss", loss, batch_size=1)
        return loss

    def validate(self, model: Any, val: list[Labelled], frames_a_clip: int) -> dict[str, list[float]]:
        figures: dict[str, list[float]] = {"accuracy": [], "accuracy_plain": [1 / len(self.config.classes)] * len(val)}
        for clip in val:
            starts = range(len(clip.frames) - self.model.window + 1)
            logits = model(torch.stack([self._window(clip.frames, start) for start in starts]).to(self.device))
            figures["accuracy"].append(float((logits.argmax(dim=1) == clip.label).float().mean()))
        return figures

    def _window(self, frames: Tensor, start: int) -> Tensor:
        """[3, window, H, W]"""
        return frames[start : start + self.model.window].transpose(0, 1).float() / 255
