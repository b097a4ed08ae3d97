"""Training of detection: scenes that are made in each step, the losses of both stages, and validation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from refilm.data.composed_set import divided_backgrounds
from refilm.data.compositing import LEAST_VISIBLE, Compositor, Draw, Films, Scene
from refilm.data.draws import below, generator
from refilm.data.objects import read_annotated_photographs, read_sequences
from refilm.errors import RefilmError
from refilm.evaluation.average_precision import Frame, mean_average_precision
from refilm.models.contract import Found
from refilm.models.rfcn import RFCN
from refilm.models.table import create_model
from refilm.training.config import TrainConfig
from refilm.training.detection_config import DetectionConfig
from refilm.training.detection_losses import ABSENT, HIDDEN, Known, judged_losses, region_losses
from refilm.training.with_backbone import WithBackbone

_MOST_OBJECTS = 8  # of a frame that are learned from
_AT_ONCE = 8  # validation scenes that are computed at once
_SMALLEST = 6.0  # side of an object that has to be found, at least, in pixels


class Batch(NamedTuple):
    """What one step learns from.

    clips     [N, 3, T, H, W], uint8
    known     the objects of the frames in the middle
    shaken    [N, S, 4], their boxes shifted and scaled
    flows     FGFA: see `RFCN.flows`
    """

    clips: Tensor
    known: Known
    shaken: Tensor
    flows: Tensor | None


class Material(NamedTuple):
    """What scenes are drawn from, and how often; the shares add up to 1."""

    sources: tuple[Draw, ...]
    shares: tuple[float, ...]


class Detection(WithBackbone):
    """Trains a detector on composed scenes, and on parts of films and photographs whose objects are known.

    A validation finds the objects of composed scenes: things that were not learned from, before other backgrounds.
    """

    config: DetectionConfig
    protocol = "composed scenes of things that were set aside, mAP at an overlap of 0.5, in %"
    plain = "the same frame instead of its neighbours"
    figure = "map50", "%"
    measures_frames = False

    def __init__(self, config: DetectionConfig, train: Material, val: Sequence[Scene] | None) -> None:
        super().__init__(config, val)
        self._material = train

    @classmethod
    def read(cls, config: TrainConfig, train: bool = True) -> Self:
        assert isinstance(config, DetectionConfig)
        if not config.cutouts or not config.films:
            raise RefilmError(
                "nothing to train on: give a folder of sequences with masks as cutouts, and backgrounds as films"
            )
        if config.annotations and len(config.photographs) > 1:
            raise RefilmError("annotations are about one folder of photographs; give one")
        kept, aside = divided_backgrounds(config.films, config.photographs, config.annotations)
        material = Material((), ())
        if train:
            things, films = read_sequences(config.cutouts, "train")
            pictures = Films(())
            if config.annotations and config.photographs:
                more, annotated = read_annotated_photographs(config.photographs[0], config.annotations)
                things, pictures = things + more, Films(annotated)
            elif config.pictures:
                raise RefilmError("pictures is a share of annotated photographs; give them and their annotations")
            composed = 1 - config.real - config.pictures
            shares = composed, config.real, config.pictures
            material = Material((Compositor(things, kept).draw, Films(films).draw, pictures.draw), shares)
        began = time.monotonic()
        unseen = Compositor(read_sequences(config.cutouts, "val")[0], aside)
        times = model_times(config)
        scenes = [
            unseen.draw(generator(_VAL_SEED, number), times, config.height, config.width)
            for number in range(config.made_val)
        ]
        problem = cls(config, material, scenes)
        problem.seconds_to_read_val = time.monotonic() - began
        return problem

    @classmethod
    def counted(cls, config: TrainConfig) -> tuple[int, int]:
        """Scenes are made as they are needed, so reading them takes no time that grows."""
        assert isinstance(config, DetectionConfig)
        return 1, config.made_val

    def begin(self) -> None:
        """Take what fits of the weight file `start`: a detector of single frames is the start of those with OFF."""
        if not self.config.backbone_rate:
            self.model.backbone.requires_grad_(False)
        super().begin()

    @torch.no_grad()
    def draw(self, step: int) -> Batch:
        random = generator(self.config.seed, step)
        times = self._times(random)
        scenes = []
        for _ in range(self.config.batch):
            source = int(torch.multinomial(torch.tensor(self._material.shares), 1, generator=random))
            scenes.append(self._material.sources[source](random, times, self.config.height, self.config.width))
        known = known_objects(scenes, times.index(0), self.model.labels)
        clips = torch.stack([torch.from_numpy(scene.frames) for scene in scenes]).permute(0, 4, 1, 2, 3).contiguous()
        flows = self.model.flows(clips.float() / 255, times.index(0)) if self._flow_guided else None
        return Batch(clips, known, shaken(known, self.config.shaken, random), flows)

    @property
    def _flow_guided(self) -> bool:
        return bool(self.model.config.temporal == "fgfa")

    def _times(self, random: torch.Generator) -> list[int]:
        """FGFA learns from a frame before and a frame after, any of those that it aggregates (its section 4)."""
        offsets: tuple[int, ...] = self.model.offsets
        if self._flow_guided:
            return [-1 - below(max(offsets), random), 0, 1 + below(max(offsets), random)]
        return list(offsets)

    def loss(self, batch: Batch, step: int) -> Tensor:
        config, model = self.config, self.model
        known, (count, _, _, height, width) = batch.known, batch.clips.shape
        clips = batch.clips.float() / 255
        seen = model.see(clips.transpose(1, 2).flatten(0, 1))
        features = model.refined(seen, count, batch.flows)
        regions = model.regions(features)
        objectness, region = region_losses(regions, known)
        with torch.no_grad():
            proposed = model.proposals(regions, height, width)[:, : config.proposals]
            boxes = torch.cat([proposed, known.boxes, batch.shaken], dim=1)
        logits, offsets = model.judged(features, boxes)
        classes, box = judged_losses(logits, offsets, boxes, known, config.hard)
        losses = {"objectness": objectness, "region": region, "classes": classes, "box": box}
        self.log_dict({f"loss_{name}": loss.detach() for name, loss in losses.items()}, batch_size=1)
        return objectness + region + classes + box

    def validate(self, model: Any, val: Sequence[Scene], frames_a_clip: int) -> dict[str, list[float]]:
        figures: dict[str, list[float]] = {}
        for name, still in (("map50", False), ("map50_plain", True)):
            if still and model.config.temporal == "none":
                figures[name] = figures["map50"]
                continue
            frames = []
            for begin in range(0, len(val), _AT_ONCE):
                part = val[begin : begin + _AT_ONCE]
                found = detect(model, [scene.frames for scene in part], self.device, still)
                frames += [judged(*each, model.labels) for each in zip(part, found, strict=True)]
            figures[name] = [mean_average_precision(frames, len(model.labels)) or 0.0]
        return figures

    def further(self, figures: dict[str, list[float]], gains: list[float]) -> str:
        return ""


_VAL_SEED = 77


def model_times(config: DetectionConfig) -> tuple[int, ...]:
    """The times of the frames that the model of a config sees."""
    model: RFCN = create_model(config.model, weights=None, **config.config)  # type: ignore[assignment]
    return model.offsets


@torch.no_grad()
def detect(model: Any, clips: Sequence[np.ndarray], device: torch.device, still: bool = False) -> list[Found]:
    """What a model finds in the middle of clips, [T, H, W, 3] uint8 each, whose frames are those that it sees.

    still   show it the frame in the middle instead of the others
    """
    frames = torch.stack([torch.from_numpy(clip) for clip in clips]).to(device)
    count, length, height, width = frames.shape[:4]
    if still:
        frames = frames[:, length // 2 : length // 2 + 1].expand(-1, length, -1, -1, -1)
    shown = frames.permute(0, 4, 1, 2, 3).float() / 255
    flows = model.flows(shown, length // 2) if model.config.temporal == "fgfa" else None
    seen = model.see(shown.transpose(1, 2).flatten(0, 1))
    found: list[Found] = model.found(model.refined(seen, count, flows), height, width)
    return found


def judged(scene: Scene, found: Found, labels: Sequence[str]) -> Frame:
    """The detections in the middle of a scene beside its objects; those that are hardly seen do not count."""
    middle = len(scene.frames) // 2
    truth = scene.boxes[middle]
    kinds = np.array([labels.index(label) for label in scene.labels], np.int64)
    there = truth[:, 2] > truth[:, 0]
    return Frame(
        found.boxes.float().cpu().numpy(),
        found.scores.float().cpu().numpy(),
        found.labels.cpu().numpy(),
        truth[there],
        kinds[there],
        is_seen(scene, middle)[there],
        scene.complete,
    )


def is_seen(scene: Scene, place: int) -> np.ndarray:
    """Which objects of a frame have to be found. -> [K]"""
    sides = scene.boxes[place, :, 2:] - scene.boxes[place, :, :2]
    seen: np.ndarray = (scene.visible[place] >= LEAST_VISIBLE) & (sides.min(axis=1, initial=1e9) >= _SMALLEST)
    return seen


def known_objects(scenes: Sequence[Scene], place: int, labels: Sequence[str]) -> Known:
    """The objects of one frame of each scene."""
    boxes = torch.zeros(len(scenes), _MOST_OBJECTS, 4)
    kinds = torch.full((len(scenes), _MOST_OBJECTS), ABSENT)
    for row, scene in enumerate(scenes):
        own, seen = scene.boxes[place], is_seen(scene, place)
        there = np.flatnonzero(own[:, 2] > own[:, 0])
        # rather leave out what need not be learned
        there = there[np.argsort(~seen[there], kind="stable")][:_MOST_OBJECTS]
        boxes[row, : len(there)] = torch.from_numpy(own[there])
        for column, number in enumerate(there):
            kinds[row, column] = labels.index(scene.labels[number]) if seen[number] else HIDDEN
    return Known(boxes, kinds, torch.tensor([scene.complete for scene in scenes]))


def shaken(known: Known, copies: int, random: torch.Generator) -> Tensor:
    """Copies of the boxes, shifted and scaled at random. -> [N, copies * K, 4]"""
    boxes = known.boxes.repeat(1, copies, 1)
    size = boxes[..., 2:] - boxes[..., :2]
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    shift, growth = 0.2 * torch.randn(2, *middle.shape, generator=random)
    middle, half = middle + shift * size, size * growth.exp() / 2
    return torch.cat([middle - half, middle + half], dim=-1)
