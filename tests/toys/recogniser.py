"""A recogniser that learns in a few steps: how bright each part of a clip is, and how that changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from refilm.models.contract import Recognizer, Sampling


@dataclass(frozen=True)
class GlanceConfig:
    labels: tuple[str, ...] = ("darker", "brighter")
    segments: int = 4
    snippet: int = 1


class Glance(nn.Module, Recognizer):
    """Two linear classifiers on the mean levels of three parts of each frame, side by side."""

    task = "recognition"
    reach = None

    def __init__(self, config: GlanceConfig = GlanceConfig()) -> None:
        super().__init__()
        self.config = config
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.level = nn.Linear(12 * self.window, len(config.labels))
        self.change = nn.Linear(12 * (self.window - 1), len(config.labels))

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.config.labels)

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.config.segments, self.config.snippet, Fraction(5), 16, 24)

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        self.backbone.load_state_dict(state)

    def heads(self, clip: Tensor) -> dict[str, Tensor]:
        """[N, 3, T, H, W] -> logits [N, K] of each classifier"""
        frames = self.backbone(clip.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(clip), -1))  # [N, T, 4, H, W]
        levels = frames.unflatten(4, (3, -1)).mean(dim=(3, 5)).flatten(2)  # [N, T, 12]
        return {"level": self.level(levels.flatten(1)), "change": self.change(levels.diff(dim=1).flatten(1))}

    def forward(self, clip: Tensor) -> Tensor:
        heads = self.heads(clip)
        return heads["level"] + heads["change"]

    @property
    def sees(self) -> tuple[str, ...]:
        return ("rgb", "change")

    def by_stream(self, clip: Tensor) -> dict[str, Tensor]:
        heads = self.heads(clip)
        return {"rgb": heads["level"], "change": heads["change"]}


def seeing_change(**fields: Any) -> Glance:
    """A model that tells brighter from darker by the change of the mean level."""
    model = Glance(GlanceConfig(**fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for layer in model.backbone:
            layer.weight.fill_(1)
        rises = model.labels.index("brighter")
        model.change.weight[rises], model.change.weight[1 - rises] = 1, -1
    return model
