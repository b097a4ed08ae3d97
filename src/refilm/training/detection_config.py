"""The settings of a training of detection."""

from __future__ import annotations

from dataclasses import dataclass

from refilm.training.config import TrainConfig


@dataclass(frozen=True)
class DetectionConfig(TrainConfig):
    """The further settings for detection.

    Scenes are made of things that are cut out of films and photographs and pasted over others
    (`refilm.data.compositing`); the films and photographs that the things are from are learned from as well. Settings
    of crops, of sets of clips and of losses between pictures do not apply.

    cutouts        folder of sequences with masks, see `refilm.data.objects`; those of the split "val" are validated on
    films          packs, or folders of films, as backgrounds. Each eighth is set aside for validation
    photographs    folder of photographs
    annotations    the objects of photographs, in COCO's format. Photographs and films that it lists without objects are
                   backgrounds, and no others are. "": all films are backgrounds, and photographs are not read
    height, width  of the scenes, in pixels
    real           share of scenes that are parts of the sequences with masks
    pictures       share of scenes that are parts of annotated photographs
    made_val       scenes that are made for validation
    backbone       weights of the model's backbone to start from, as safetensors, under the names of its layers
    backbone_rate  learning rate of the backbone, relative to that of the rest. 0: it does not learn, and a step takes
                   about half the time
    proposals      regions that the second stage learns from in a frame, beside the true boxes and shaken ones
    shaken         copies of each true box, shifted and scaled at random, that the second stage also learns from
    hard           regions of a frame that count in the loss of the second stage: those with the largest loss

    Raises ValueError for values out of range.
    """

    model: str = "rfcn-mobilenet"
    cutouts: str = ""
    films: tuple[str, ...] = ()
    photographs: tuple[str, ...] = ()
    annotations: str = ""
    height: int = 192
    width: int = 320
    real: float = 0.25
    pictures: float = 0.0
    made_val: int = 96
    backbone: str = ""
    backbone_rate: float = 0.3
    proposals: int = 128
    shaken: int = 4
    hard: int = 48

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.real, self.pictures) < 0 or self.real + self.pictures > 1:
            raise ValueError(
                f"real and pictures must be shares that add up to 1 at most, got {self.real:g} and {self.pictures:g}"
            )
        if self.backbone_rate < 0:
            raise ValueError(f"backbone_rate must be at least 0, got {self.backbone_rate:g}")
        if min(self.height, self.width) < 64 or self.hard < 1 or self.made_val < 1 or self.shaken < 0:
            raise ValueError("height and width must be at least 64, hard and made_val at least 1, shaken at least 0")
