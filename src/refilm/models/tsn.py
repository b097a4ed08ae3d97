"""TSN, temporal segment networks: a clip is cut into segments, each is classified by one snippet, and all agree.

Source   Wang et al., "Temporal Segment Networks: Towards Good Practices for Deep Action Recognition", ECCV 2016, arXiv
         1608.00859; (3.1) below is its section 3.1.
Departs  optical flow by DIS at half the size instead of TV-L1; by config, several frames of a snippet are seen one by
         one, and a consensus that knows the order of the segments: docs/choices.md#recognition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.backbones import BACKBONES, IMAGENET_STD, freeze, make_backbone, normalised
from refilm.layers.consensus import CONSENSUS
from refilm.layers.optical_flow import DIS, luma
from refilm.models.contract import Recognizer, Sampling, check_clip
from refilm.models.motion import motion_source

PAIRS = 5  # of neighbouring frames in a snippet, for the streams that see motion (3.2)
PLANES = {"rgb": 3, "difference": 3 * PAIRS, "flow": 2 * PAIRS}
FLOW_REDUCTION = 2  # the flow is estimated between frames that are this many times smaller
LARGEST_FLOW = 20.0  # pixels, beyond which it is cut off

STD = sum(IMAGENET_STD) / 3


def numbered(classes: int) -> tuple[str, ...]:
    """Names for classes that have none yet."""
    return tuple(f"class {number}" for number in range(classes))


@dataclass(frozen=True)
class TSNConfig:
    """Defaults: the spatial stream of the paper, for UCF-101, as it is tested.

    labels            names of the classes
    backbone          a key of `BACKBONES`
    streams           what is seen, a backbone each: "rgb"; "difference", of RGB between neighbouring frames; "flow"
    weights           of the scores of each stream in the sum; (): 1 each
    segments          of a clip; the model takes other numbers too
    frames            of each snippet that the stream "rgb" sees one by one
    consensus         "average": the mean of the segments' scores; "ordered": see `OrderedConsensus`
    dropout           before the classifier of the stream "rgb"
    temporal_dropout  before those of the others
    partial_bn        training leaves the statistics and parameters of all batch normalisations but the first (3.2)
    frozen            training leaves the backbones as they are
    motion            source of the flow, see `motion_source`
    height, width     of frames, pixels
    rate              frames per second within a snippet
    seconds           length of the windows into which a film is cut
    """

    labels: tuple[str, ...] = numbered(101)
    backbone: str = "bn-inception"
    streams: tuple[Literal["rgb", "difference", "flow"], ...] = ("rgb",)
    weights: tuple[float, ...] = ()
    segments: int = 25
    frames: int = 1
    consensus: Literal["average", "ordered"] = "average"
    dropout: float = 0.8
    temporal_dropout: float = 0.7
    partial_bn: bool = True
    frozen: bool = False
    motion: str = "dis"
    height: int = 224
    width: int = 224
    rate: int = 25
    seconds: float = 4.0

    def __post_init__(self) -> None:
        for name in ("labels", "streams", "weights"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON and TOML give lists
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {self.backbone!r}")
        if not self.streams or not set(self.streams) <= set(PLANES) or len(set(self.streams)) < len(self.streams):
            raise ValueError(f"streams must be different ones of {', '.join(PLANES)}, got {list(self.streams)}")
        if self.weights and len(self.weights) != len(self.streams):
            raise ValueError(f"weights must be one for each of {len(self.streams)} streams, got {list(self.weights)}")
        if self.consensus not in CONSENSUS:
            raise ValueError(f'consensus must be "average" or "ordered", got {self.consensus!r}')
        if not self.labels or self.segments < 1 or self.frames < 1:
            raise ValueError(
                "labels must name a class, and segments and frames be at least 1, got "
                f"{list(self.labels)}, {self.segments} and {self.frames}"
            )

    @property
    def snippet(self) -> int:
        """Frames of a snippet."""
        return self.frames if self.streams == ("rgb",) else max(self.frames, PAIRS + 1)


class Stream(nn.Module):
    """What one stream sees, its backbone and its classifier."""

    def __init__(self, modality: str, config: TSNConfig) -> None:
        super().__init__()
        self.modality, self.config = modality, config
        self.backbone = make_backbone(config.backbone, PLANES[modality])
        self.dropout = config.dropout if modality == "rgb" else config.temporal_dropout
        self.consensus = self.make_consensus(self.backbone.width)
        self.wanted: tuple[str, ...] = ()  # maps beside the last
        self._motion = motion_source(config.motion, DIS()) if modality == "flow" else None

    def make_consensus(self, channels: int) -> nn.Module:
        """A classifier of segments with so many features."""
        return CONSENSUS[self.config.consensus](channels, len(self.config.labels), self.dropout)

    def seen(self, snippets: Tensor, flow: Tensor | None = None) -> Tensor:
        """The input of the backbone. [N, S, L, 3, H, W], RGB in [0, 1] -> [N, S, frames, planes, H, W], normalised

        flow   what `flow_planes` gives for the snippets; computed where it is not given
        """
        if self.modality == "rgb":
            return normalised(self.shown(snippets))
        if self.modality == "difference":
            planes = snippets[:, :, : PAIRS + 1].diff(dim=2) / (2 * STD)
        else:
            planes = self.flow_planes(snippets) if flow is None else flow
        return planes.flatten(2, 3).unsqueeze(2)

    def shown(self, snippets: Tensor) -> Tensor:
        """The frames in the middle of each snippet that the stream "rgb" sees. [N, S, L, 3, H, W] -> fewer L"""
        first = (snippets.shape[2] - self.config.frames) // 2
        return snippets[:, :, first : first + self.config.frames]

    def maps(self, seen: Tensor) -> dict[str, Tensor]:
        """The maps of the backbone, [N, S, frames, channels, h, w]."""
        shape = seen.shape[:3]
        frames = seen.flatten(0, 2).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            maps = self.backbone.maps(frames, self.wanted, length=shape[1] * shape[2])
        return {name: found.unflatten(0, shape) for name, found in maps.items()}

    def heads(self, snippets: Tensor, flow: Tensor | None = None) -> dict[str, Tensor]:
        """The logits of each classifier [N, K]. Arguments as for `seen`."""
        return {self.modality: self.classified(self.maps(self.seen(snippets, flow)))}

    def classified(self, maps: Mapping[str, Tensor]) -> Tensor:
        """The logits of the backbone's classifier [N, K]."""
        last = list(self.backbone.sizes)[-1]
        logits: Tensor = self.consensus(maps[last].mean(dim=(2, 4, 5)))
        return logits

    @property
    def scored(self) -> dict[str, tuple[str, ...]]:
        """The heads whose logits are summed, by what they see."""
        return {self.modality: (self.modality,)}

    @torch.no_grad()
    def flow_planes(self, snippets: Tensor) -> Tensor:
        """The flow between neighbours, pixels / LARGEST_FLOW, as 8-bit pictures of it would be normalised.

        [N, S, L, 3, H, W] -> [N, S, PAIRS, 2, H, W]
        """
        assert self._motion is not None
        snippets = snippets[:, :, : PAIRS + 1]
        shape, (height, width) = snippets.shape[:2], snippets.shape[4:]
        size = [-(-side // FLOW_REDUCTION) for side in (height, width)]
        planes = luma(F.interpolate(snippets.flatten(0, 2), size, mode="area")).unflatten(0, snippets.shape[:3])
        flow = self._motion.one_way(planes[:, :, :-1].flatten(0, 2), planes[:, :, 1:].flatten(0, 2))
        flow = flow * flow.new_tensor([width / size[1], height / size[0]]).view(2, 1, 1)
        flow = F.interpolate(flow, (height, width), mode="bilinear").to(snippets.dtype)
        return (flow.clamp(-LARGEST_FLOW, LARGEST_FLOW) / (2 * LARGEST_FLOW * STD)).unflatten(0, (*shape, -1))


class TSN(nn.Module, Recognizer):
    """Classifies a clip by the consensus of its segments, and by the sum of the streams' scores."""

    task = "recognition"
    reach = None

    def __init__(self, config: TSNConfig = TSNConfig()) -> None:
        super().__init__()
        self.config = config
        self.streams = nn.ModuleDict({modality: self.make_stream(modality) for modality in config.streams})
        self.train()

    def make_stream(self, modality: str) -> Stream:
        return Stream(modality, self.config)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.config.labels

    @property
    def sampling(self) -> Sampling:
        c = self.config
        seconds = Fraction(c.seconds).limit_denominator(1000)
        return Sampling(c.segments, c.snippet, Fraction(c.rate), c.height, c.width, seconds)

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, T, H, W], RGB in [0, 1], snippet after snippet -> logits [N, K]; T a multiple of `sampling.snippet`.

        Raises as `check_clip`.
        """
        return self.fused(self.heads(clip))

    def heads(self, clip: Tensor, unlearned: Tensor | None = None) -> dict[str, Tensor]:
        """The logits [N, K] of every classifier, by name: training supervises each.

        clip        as for the call
        unlearned   what `unlearned` gave for this clip; computed where it is not given
        """
        snippets = self.snippets(clip)
        return {
            name: logits for stream in self._streams() for name, logits in stream.heads(snippets, unlearned).items()
        }

    def unlearned(self, clip: Tensor) -> Tensor | None:
        """See `Recognizer.unlearned`: the flow, unless a network estimates it, which is left to the GPU."""
        if "flow" not in self.config.streams or self.config.motion != "dis":
            return None
        stream = self.streams["flow"]
        assert isinstance(stream, Stream)
        return stream.flow_planes(self.parted(clip))

    def fused(self, heads: Mapping[str, Tensor]) -> Tensor:
        """The scores of the model [N, K], from those of its heads."""
        return torch.stack([score for scores in self._scores(heads).values() for score in scores]).sum(dim=0)

    @property
    def sees(self) -> tuple[str, ...]:
        return tuple(name for stream in self._streams() for name in stream.scored)

    def by_stream(self, clip: Tensor) -> dict[str, Tensor]:
        """See `Recognizer.by_stream`; the OFF of a stream is one by itself."""
        return {name: torch.stack(scores).sum(dim=0) for name, scores in self._scores(self.heads(clip)).items()}

    def _scores(self, heads: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """What the scores of the model are the sum of, by stream."""
        weights = self.config.weights or (1.0,) * len(self.config.streams)
        return {
            name: [weight * heads[head] for head in scored]
            for weight, stream in zip(weights, self._streams(), strict=True)
            for name, scored in stream.scored.items()
        }

    def snippets(self, clip: Tensor) -> Tensor:
        """The checked clip as snippets, [N, 3, S * L, H, W] -> [N, S, L, 3, H, W]."""
        known = isinstance(clip, Tensor) and clip.ndim == 5 and clip.shape[2] % self.config.snippet == 0
        check_clip(self, clip, (clip.shape[2],) if known else ())
        return self.parted(clip)

    def parted(self, clip: Tensor) -> Tensor:
        """`snippets` without the checks, for what is computed elsewhere than where the model is."""
        return clip.unflatten(2, (-1, self.config.snippet)).movedim(1, 3)

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Give all backbones weights that were learned on pictures, see `Backbone.start_from`."""
        for stream in self._streams():
            stream.backbone.start_from(state)

    def train(self, mode: bool = True) -> TSN:
        """Also keep still what training leaves as it is."""
        super().train(mode)
        for stream in self._streams():
            if self.config.frozen:
                freeze(stream.backbone)
            elif self.config.partial_bn:
                norms = [module for module in stream.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
                for norm in norms[1:]:
                    freeze(norm)
        return self

    def _streams(self) -> list[Stream]:
        return [stream for stream in self.streams.values() if isinstance(stream, Stream)]
