"""R-FCN for single frames, with OFF, and with flow-guided aggregation (FGFA).

Source   R-FCN: Dai et al., NIPS 2016, arXiv 1605.06409. With OFF: "Optical flow guided feature", section 6: a 3x3
         convolution on ResNet-101 at stride 16, whose first half of channels serves the region proposals and the second
         half the detection; OFF on it (single scale), or also on a finer map (multi scale), and residual blocks with SE
         that refine the features. FGFA: Zhu et al., "Flow-Guided Feature Aggregation", ICCV 2017, arXiv 1703.10025.
Chosen   where the paper is silent: OFF is taken from the frame before and to the frame after, both `apart` frames away;
         what the blocks make of it is added to the features of the frame in the middle, and begins at zero, so that a
         trained detector for single frames is the start.
Departs  bins of regions are not rounded to whole places (`refilm.ops.position_sensitive_pooling`); FGFA's flow is DIS:
         docs/choices.md#detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.backbones import keep_stride, make_backbone, normalised
from refilm.layers.boxes import anchors, clipped, decode, not_suppressed
from refilm.layers.off import OFFUnit
from refilm.layers.optical_flow import DIS, luma
from refilm.layers.se_block import SEBlock
from refilm.models.contract import Detector, Found, check_clip
from refilm.ops import backward_warp, position_sensitive_pooling

STRIDE = 16  # pixels per place of the features
# Standard deviation of box offsets, by which those of the second stage are normalised as in Fast R-CNN.
OFFSET_STD = (0.1, 0.1, 0.2, 0.2)
# Overlap by which a better box suppresses another one: of proposals, and of detections of one class.
PROPOSALS_OVERLAP, DETECTIONS_OVERLAP = 0.7, 0.45
_ROUNDS = 10  # of the suppression of proposals; a longer chain of boxes is rare, and does no harm
_CONSIDERED = 3  # proposals are chosen among so many times as many anchors, the best


@dataclass(frozen=True)
class RFCNConfig:
    """Defaults: the paper's R-FCN on ResNet-101.

    labels      names of the classes
    backbone    name in `BACKBONES`; its steps beyond STRIDE are dilated
    last        name of the backbone's map that is built upon, of stride 16
    channels    of the features: half for the region proposals, half for the detection
    bins        k, along each side of a region
    sizes       of anchors, the roots of their areas in pixels
    ratios      of anchors, height / width
    proposals   regions in a frame
    temporal    what is seen of other frames: "none", "off" or "fgfa"
    finer       OFF: maps of the backbone that it also sees, from the finest on; (): single scale
    apart       OFF: frames between the one in the middle and those before and after it
    reduced     OFF: channels to which maps are reduced
    width       OFF: channels of the residual blocks
    blocks      OFF: residual blocks of each level
    aside       FGFA: frames on either side that are aggregated
    embedding   FGFA: channels of the embedding, whose similarity weighs frames
    side        short side to which pictures are reduced, in pixels
    """

    labels: tuple[str, ...] = ("person", "vehicle", "animal")
    backbone: str = "resnet-101"
    last: str = "res5"
    channels: int = 1024
    bins: int = 7
    sizes: tuple[float, ...] = (64.0, 128.0, 256.0, 512.0)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    proposals: int = 300
    temporal: Literal["none", "off", "fgfa"] = "none"
    finer: tuple[str, ...] = ()
    apart: int = 2
    reduced: int = 128
    width: int = 256
    blocks: int = 2
    aside: int = 10
    embedding: int = 2048
    side: int = 600

    def __post_init__(self) -> None:
        for name in ("labels", "sizes", "ratios", "finer"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.temporal not in ("none", "off", "fgfa"):
            raise ValueError(f'temporal must be "none", "off" or "fgfa", got {self.temporal!r}')
        if not self.labels or self.channels % 2:
            raise ValueError("labels must name a class, and channels must be even")
        if self.finer and self.temporal != "off":
            raise ValueError('finer is about OFF; set temporal to "off"')
        if min(self.apart, self.aside, self.proposals, self.side) < 1:
            raise ValueError("apart, aside, proposals and side must be at least 1")


class Seen(NamedTuple):
    """What the backbone makes of frames, which is computed once for each frame of a film.

    features   [N, channels, h, w], at STRIDE
    finer      the maps of `RFCNConfig.finer`
    """

    features: Tensor
    finer: tuple[Tensor, ...] = ()

    def at(self, places: Any) -> Self:
        """That of some of the frames."""
        return type(self)(self.features[places], tuple(maps[places] for maps in self.finer))

    @classmethod
    def of_all(cls, several: Sequence[Self]) -> Self:
        """One after the other."""
        finer = zip(*(each.finer for each in several), strict=True)
        return cls(torch.cat([each.features for each in several]), tuple(torch.cat(maps) for maps in finer))


class Regions(NamedTuple):
    """What the region proposal network says of the anchors.

    logits    [N, A], how likely there is an object
    offsets   [N, A, 4], from the anchors, see `boxes.encode`
    anchors   [A, 4]
    """

    logits: Tensor
    offsets: Tensor
    anchors: Tensor


class OFFLevel(nn.Module):
    """OFF of maps of three frames, what the finer level has found, and residual blocks that refine both.

    channels   of the maps
    finer      of the finer level's output; 0: this is the finest
    stride     from the size of these maps to that of the next level's
    """

    def __init__(self, channels: int, finer: int, stride: int, config: RFCNConfig) -> None:
        super().__init__()
        self.unit = OFFUnit(channels, config.reduced)
        self.enter = nn.Conv2d(2 * self.unit.channels + finer, config.width, 3, stride, 1)
        self.refine = nn.Sequential(*(SEBlock(config.width) for _ in range(config.blocks)))
        for module in (self.unit.reduce, self.enter):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)

    def forward(self, maps: Tensor, finer: Tensor | None) -> Tensor:
        """[N, 3, C, h, w], [N, width, h, w] of the finer level -> [N, width, h', w']"""
        reduced = self.unit.reduce(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        before, middle, after = reduced.unbind(1)
        x = torch.cat([self.unit.between(before, middle), self.unit.between(middle, after)], dim=1)
        if finer is not None:
            x = torch.cat([x, finer], dim=1)
        refined: Tensor = self.refine(F.relu(self.enter(x)))
        return refined


class OFFRefinement(nn.Module):
    """Adds to the features of a frame what OFF sees in it and its neighbours."""

    def __init__(self, finer: Sequence[tuple[int, int]], config: RFCNConfig) -> None:
        """finer: stride and channels of each of the finer maps"""
        super().__init__()
        strides = [stride for stride, _ in finer] + [STRIDE, STRIDE]
        channels = [channels for _, channels in finer] + [config.channels]
        self.levels = nn.ModuleList(
            OFFLevel(own, config.width if number else 0, strides[number + 1] // strides[number], config)
            for number, own in enumerate(channels)
        )
        self.leave = nn.Conv2d(config.width, config.channels, 1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(self, seen: Seen, count: int) -> Tensor:
        """What is seen of three frames of each of `count` clips -> the features of those in the middle"""
        found = None
        for level, maps in zip(self.levels, (*seen.finer, seen.features), strict=True):
            found = level(maps.unflatten(0, (count, 3)), found)
        return seen.features.unflatten(0, (count, 3))[:, 1] + self.leave(found)


class Aggregation(nn.Module):
    """The features of a frame and those of others, warped along the flow to it: their mean, weighted by similarity.

    The weights are a softmax over the frames, at each place, of the cosine between embeddings (FGFA, (3) and (4)).
    """

    def __init__(self, config: RFCNConfig) -> None:
        super().__init__()
        within = max(config.embedding // 4, 1)
        self.embed = nn.Sequential(
            nn.Conv2d(config.channels, within, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(within, within, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(within, config.embedding, 1),
        )

    def forward(self, features: Tensor, flows: Tensor, middle: int) -> Tensor:
        """[N, T, C, h, w]; [N, T, 2, h, w], from the frame in the middle to each, in places -> [N, C, h, w]"""
        count, length = features.shape[:2]
        exact = next(self.parameters()).dtype  # automatic mixed precision may have given less precise features
        warped = backward_warp(features.flatten(0, 1).to(exact), flows.flatten(0, 1).to(exact))
        embedded = F.normalize(self.embed(warped), dim=1).unflatten(0, (count, length))
        similarity = (embedded * embedded[:, middle : middle + 1]).sum(dim=2, keepdim=True)
        return (similarity.to(exact).softmax(dim=1) * warped.unflatten(0, (count, length))).sum(dim=1)


class RFCN(nn.Module, Detector):
    """A detector whose second stage has no layers for single regions: it reads their bins off position-sensitive maps.

    The backbone's batch normalisation keeps the statistics of the weights that it started from.
    """

    task = "detection"

    def __init__(self, config: RFCNConfig = RFCNConfig()) -> None:
        super().__init__()
        self.config = config
        self.backbone = make_backbone(config.backbone)
        self.backbone.end_at(config.last)
        keep_stride(self.backbone, STRIDE)
        if self.backbone.sizes[config.last].stride != STRIDE:
            raise ValueError(f"last must be a map of stride {STRIDE}, got {config.last!r}")
        self.features = nn.Conv2d(self.backbone.width, config.channels, 3, padding=1)
        half, shapes, bins = config.channels // 2, len(config.sizes) * len(config.ratios), config.bins**2
        self.objectness, self.region = nn.Conv2d(half, shapes, 1), nn.Conv2d(half, 4 * shapes, 1)
        self.class_maps = nn.Conv2d(half, bins * (1 + len(config.labels)), 1)
        self.box_maps = nn.Conv2d(half, bins * 4, 1)
        for module in (self.objectness, self.region, self.class_maps, self.box_maps):
            nn.init.normal_(module.weight, std=0.01)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        nn.init.kaiming_normal_(self.features.weight, nonlinearity="relu")
        if config.temporal == "off":
            finer = [self.backbone.sizes[name] for name in config.finer]
            self.off = OFFRefinement([(size.stride, size.channels) for size in finer], config)
        elif config.temporal == "fgfa":
            self.aggregation = Aggregation(config)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.config.labels

    @property
    def side(self) -> int:
        return self.config.side

    @property
    def reach(self) -> None:
        return None

    @property
    def window(self) -> int:
        return 1 + 2 * max(self.offsets)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The frames that are seen, relative to the one in the middle."""
        if self.config.temporal == "off":
            return -self.config.apart, 0, self.config.apart
        return tuple(range(-self.config.aside, self.config.aside + 1)) if self.config.temporal == "fgfa" else (0,)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.backbone.eval()
        return self

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Take weights of the backbone that were learned on pictures."""
        self.backbone.start_from({name: value.float() for name, value in state.items()})

    def see(self, frames: Tensor) -> Seen:
        """What the backbone makes of frames. [N, 3, H, W], RGB in [0, 1]"""
        maps = self.backbone.maps(normalised(frames), self.config.finer)
        features = F.relu(self.features(maps[self.config.last]))
        return Seen(features, tuple(maps[name] for name in self.config.finer))

    def flows(self, clip: Tensor, middle: int) -> Tensor:
        """FGFA: the flow from the frame in the middle to each, by DIS. [N, 3, T, H, W] -> [N, T, 2, h, w], in places"""
        frames = clip.transpose(1, 2)
        planes = luma(frames)
        flows = torch.stack([DIS().one_way(planes[:, middle], plane) for plane in planes.unbind(1)], dim=1)
        size = (-(-clip.shape[3] // STRIDE), -(-clip.shape[4] // STRIDE))
        return (F.adaptive_avg_pool2d(flows.flatten(0, 1), size) / STRIDE).unflatten(0, flows.shape[:2]).to(clip.device)

    def refined(self, seen: Seen, count: int, flows: Tensor | None = None) -> Tensor:
        """The features of the frame in the middle of each clip, by all its frames.

        seen    of the frames of `count` clips, clip after clip
        flows   FGFA: see there
        out     [count, channels, h, w]
        """
        if self.config.temporal == "off":
            return self.off(seen, count)
        if self.config.temporal == "fgfa":
            assert flows is not None
            length = len(seen.features) // count
            return self.aggregation(seen.features.unflatten(0, (count, length)), flows, length // 2)
        return seen.features

    def regions(self, features: Tensor) -> Regions:
        """The region proposal network, on the first half of the channels."""
        x = features[:, : self.config.channels // 2]
        logits = self.objectness(x).permute(0, 2, 3, 1).flatten(1)
        offsets = self.region(x).unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        around = anchors(features.shape[2], features.shape[3], STRIDE, self.config.sizes, self.config.ratios)
        return Regions(logits.float(), offsets.float(), around.to(features.device))

    def proposals(self, regions: Regions, height: int, width: int, rounds: int | None = _ROUNDS) -> Tensor:
        """The likeliest regions of each frame, without duplicates. -> [N, proposals, 4]

        If there are too few, duplicates follow.
        """
        wanted = min(self.config.proposals, len(regions.anchors))
        logits, order = regions.logits.topk(min(_CONSIDERED * wanted, len(regions.anchors)), dim=1)
        offsets = regions.offsets.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
        found = clipped(decode(offsets, regions.anchors[order]), height, width)
        kept = not_suppressed(found, PROPOSALS_OVERLAP, rounds)
        best = torch.where(kept, logits, logits - 1e4).topk(wanted, dim=1).indices
        return found.gather(1, best.unsqueeze(-1).expand(-1, -1, 4))

    def judged(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The second stage, on the second half of the channels: bins vote by their mean (R-FCN, section 2.2).

        boxes   [N, R, 4]
        out     logits [N, R, 1 + classes], the background first; normalised offsets from the boxes [N, R, 4]
        """
        x = features[:, self.config.channels // 2 :]
        places = boxes / STRIDE
        logits, offsets = (
            position_sensitive_pooling(maps(x), places, self.config.bins).mean(dim=(3, 4))
            for maps in (self.class_maps, self.box_maps)
        )
        return logits.float(), offsets.float()

    def found(self, features: Tensor, height: int, width: int, least: float = 0.05, most: int = 100) -> list[Found]:
        """The objects in frames of that size, from the features of each.

        least   score of an object
        most    objects of a frame, the best
        """
        boxes, scores = self.scored(features, height, width, None)
        return [_best(*each, least, most) for each in zip(boxes, scores, strict=True)]

    def scored(self, features: Tensor, height: int, width: int, rounds: int | None) -> tuple[Tensor, Tensor]:
        """All boxes [N, R, 4] with their scores for each class [N, R, classes]; several may lie on one object.

        rounds   of the suppression of proposals, see `not_suppressed`
        """
        boxes = self.proposals(self.regions(features), height, width, rounds)
        logits, offsets = self.judged(features, boxes)
        boxes = clipped(decode(offsets * offsets.new_tensor(OFFSET_STD), boxes), height, width)
        return boxes, logits.softmax(dim=2)[..., 1:]

    def places(self) -> list[int]:
        return [self.window // 2 + offset for offset in self.offsets]

    def found_in(self, seen: Sequence[Seen], pictures: Sequence[Tensor], least: float) -> Found:
        flows = None
        if self.config.temporal == "fgfa":
            flows = self.flows(torch.stack(list(pictures), dim=2), len(pictures) // 2)
        height, width = pictures[0].shape[2:]
        (found,) = self.found(self.refined(Seen.of_all(seen), 1, flows), height, width, least)
        return found

    def forward(self, clip: Tensor, *arguments: Any, **options: Any) -> list[Found]:
        """See `Detector`, and for the options `found`."""
        check_clip(self, clip)
        return self.found(self._features(clip), *clip.shape[3:], *arguments, **options)

    def candidates(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        return self.scored(self._features(clip), clip.shape[3], clip.shape[4], _ROUNDS)

    def _features(self, clip: Tensor) -> Tensor:
        """The features of the frame in the middle, by all frames that the model looks at."""
        clip = clip[:, :, self.places()]
        flows = self.flows(clip, clip.shape[2] // 2) if self.config.temporal == "fgfa" else None
        return self.refined(self.see(clip.transpose(1, 2).flatten(0, 1)), len(clip), flows)


def _best(boxes: Tensor, scores: Tensor, least: float, most: int) -> Found:
    """The objects of one frame, best first. [R, 4], [R, classes]"""
    kept: list[Found] = []
    for label, own in enumerate(scores.unbind(1)):
        order = own.argsort(descending=True, stable=True)
        order = order[own[order] >= least]
        order = order[not_suppressed(boxes[order], DETECTIONS_OVERLAP)]
        kept.append(Found(boxes[order], own[order], torch.full_like(order, label)))
    together = Found(*(torch.cat(parts) for parts in zip(*kept, strict=True)))
    order = together.scores.argsort(descending=True, stable=True)[:most]
    return Found(*(each[order] for each in together))
