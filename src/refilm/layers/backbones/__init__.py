"""Backbones: networks that turn frames into maps of features, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from refilm.layers.backbones.backbone import (
    IMAGENET_STD,
    Backbone,
    MapSize,
    Temporal,
    freeze,
    keep_stride,
    normalised,
    through,
)
from refilm.layers.backbones.bn_inception import BNInception
from refilm.layers.backbones.efficientnet_lite import EfficientNetLite0
from refilm.layers.backbones.meast import asymmetric
from refilm.layers.backbones.mobilenet_v2 import MobileNetV2
from refilm.layers.backbones.resnet import ResNet50, ResNet101
from refilm.layers.backbones.tsm import shifting

# by the name that configs use; each is called with the number of planes of a frame
BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "bn-inception": BNInception,
    "resnet-50": ResNet50,
    "resnet-50-thin": partial(ResNet50, width=32, stride_first=True),
    "resnet-101": partial(ResNet101, stride_first=True),
    "mobilenet-v2": MobileNetV2,
    "efficientnet-lite0": EfficientNetLite0,
    # backbones whose blocks see neighbouring frames
    "resnet-50-tsm": lambda planes: shifting(ResNet50(planes)),
    "mobilenet-v2-tsm": lambda planes: shifting(MobileNetV2(planes)),
    "resnet-50-meast": lambda planes: asymmetric(ResNet50(planes)),
    "mobilenet-v2-meast": lambda planes: asymmetric(MobileNetV2(planes)),
}

__all__ = [
    "BACKBONES",
    "IMAGENET_STD",
    "Backbone",
    "MapSize",
    "Temporal",
    "freeze",
    "keep_stride",
    "make_backbone",
    "normalised",
    "through",
]


def make_backbone(name: str, planes: int = 3) -> Backbone:
    """The backbone of that name, for frames of so many planes. Raises ValueError for another name."""
    if name not in BACKBONES:
        raise ValueError(f"no backbone is called {name!r}; there are: {', '.join(BACKBONES)}")
    return BACKBONES[name](planes)
