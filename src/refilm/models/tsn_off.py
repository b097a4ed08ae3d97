"""TSN with OFF: a second network sees how the features of a backbone change from frame to frame.

Source   "Optical flow guided feature: a fast and robust motion representation for video analysis", section 4. Three OFF
         units at the sizes K, K/2 and K/4, joined by residual blocks without batch normalisation, a classifier each.
Chosen   where the paper is silent, as in the authors' program: which maps of BN-Inception form a level, and the widths
         and kernels between them.
Departs  by config, OFF between the frames of a snippet instead of segments, and a head that predicts coarse optical
         flow, for pre-training: docs/choices.md#recognition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.consensus import classifier
from refilm.layers.off import USES, OFFUnit
from refilm.layers.optical_flow import DIS, luma
from refilm.layers.residual import BRANCH_AT_START
from refilm.models.tsn import TSN, Stream, TSNConfig

EXPANSION = 4  # of a bottleneck: channels of its output per channel within
FLOW_UNIT = 4.0  # pixels that 1 means in the output of the layer that predicts flow
SLOW_FLOW = 0.25  # pixels, up to which the classifier of the flow sees it as it is
HIDDEN = 64  # width of that classifier


class Lesson(NamedTuple):
    """What training sees.

    heads   the logits [N, K] of every classifier, by name
    flow    [N, P, 2, grid, grid], (dx, dy) in pixels from the earlier to the later of the P pairs of frames, mean over
            the cells of a grid; None for a model that does not predict it
    """

    heads: dict[str, Tensor]
    flow: Tensor | None


@dataclass(frozen=True)
class TSNOFFConfig(TSNConfig):
    """Defaults: OFF(RGB) of the paper, on BN-Inception.

    off              streams that have OFF; (): all
    levels           names of the backbone's maps that each level concatenates, from the finest level to the coarsest.
                     The maps of a level have the same size
    reduced          channels to which the OFF units reduce the maps
    kernels          size of the convolution by which each level begins
    widths           of each level, within its residual blocks; the output has EXPANSION times as many channels
    blocks           residual blocks of each level
    use              see `OFFUnit`
    appearance       whether the classifier of the backbone itself takes part. Without it, the backbone ends at the last
                     map that OFF sees
    flow_grid        cells, along each side, in which the finest level of "rgb" predicts the flow; 0: it does not
    classifies_flow  whether a classifier of its own sees that flow, as its mean over the clip: for labels that tell one
                     even motion of the whole picture
    """

    off: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = (("3a", "3b"), ("3c", "4a", "4b", "4c", "4d"), ("5a", "5b"))
    reduced: int = 128
    kernels: tuple[int, ...] = (7, 5, 3)
    widths: tuple[int, ...] = (64, 128, 256)
    blocks: tuple[int, ...] = (3, 2, 1)
    use: Literal["off", "temporal", "hypercolumn"] = "off"
    appearance: bool = True
    flow_grid: int = 0
    classifies_flow: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("off", "kernels", "widths", "blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "levels", tuple(tuple(level) for level in self.levels))
        if not set(self.off) <= set(self.streams):
            raise ValueError(f"off must name streams out of {list(self.streams)}, got {list(self.off)}")
        if not len(self.levels) == len(self.kernels) == len(self.widths) == len(self.blocks) > 0:
            raise ValueError("levels, kernels, widths and blocks must have an entry for each level")
        if self.use not in USES:
            raise ValueError(f"use must be one of {', '.join(USES)}, got {self.use!r}")
        if self.flow_grid and ("rgb" not in self.streams or (self.off and "rgb" not in self.off)):
            raise ValueError('flow_grid needs OFF of the stream "rgb"')
        if self.classifies_flow and not self.flow_grid:
            raise ValueError("classifies_flow needs a flow_grid of at least 1")
        if self.segments < 2 and self.frames < 2:
            raise ValueError("OFF needs two frames, so segments or frames must be at least 2")


class Bottleneck(nn.Module):
    """A residual block without batch normalisation (4.1.3). [N, channels, H, W] -> [N, EXPANSION * width, H, W]"""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, EXPANSION * width, 1)
        self.project = nn.Conv2d(channels, EXPANSION * width, 1) if channels != EXPANSION * width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(self.project(x) + branch)


class Level(nn.Module):
    """An OFF unit, what the finer level has found, and residual blocks that refine both.

    channels   of the maps
    finer      of the finer level's output; 0: this is the finest
    stride     from the size of these maps to that of the next level's
    """

    def __init__(
        self, channels: int, finer: int, stride: int, kernel: int, width: int, blocks: int, config: TSNOFFConfig
    ) -> None:
        super().__init__()
        self.unit = OFFUnit(channels, config.reduced, config.use)
        self.enter = nn.Conv2d(self.unit.channels + finer, width, kernel, stride, kernel // 2)
        inputs = (width, *(EXPANSION * width,) * (blocks - 1))
        self.refine = nn.Sequential(*(Bottleneck(channels, width) for channels in inputs[:blocks]))
        self.channels = EXPANSION * width if blocks else width

    def forward(self, maps: Tensor, finer: Tensor | None) -> Tensor:
        """[N, S, frames, C, h, w], and [N, P, Q, finer, h, w] of the finer level -> [N, P, Q, channels, h', w']

        With one frame in a snippet, P = S - 1 pairs of neighbouring segments, and Q = 1; else P = S, and Q = frames - 1
        pairs of neighbours.
        """
        reduced = self.unit.reduce(maps.flatten(0, 2)).unflatten(0, maps.shape[:3])
        earlier, later = pairs(reduced)
        x = self.unit.between(earlier.flatten(0, 2), later.flatten(0, 2))
        if finer is not None:
            x = torch.cat([x, finer.flatten(0, 2)], dim=1)
        refined: Tensor = self.refine(F.relu(self.enter(x)))
        return refined.unflatten(0, earlier.shape[:3])


def pairs(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Each frame and the next: within the snippets if these have several, else of neighbouring segments.

    [N, S, frames, ...] -> [N, S, frames - 1, ...] twice, or [N, S - 1, 1, ...] twice
    """
    if frames.shape[2] > 1:
        return frames[:, :, :-1], frames[:, :, 1:]
    return frames[:, :-1], frames[:, 1:]


class FlowClassifier(nn.Module):
    """A classifier of the mean flow of clips. [N, P, 2, grid, grid], in pixels -> logits [N, K]"""

    def __init__(self, grid: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * grid * grid, HIDDEN)
        self.classifier = classifier(HIDDEN, classes)

    def forward(self, flow: Tensor) -> Tensor:
        # slow motion counts for what it is, fast motion for its logarithm, so that one layer can tell both
        cells = torch.asinh(flow.mean(dim=1).flatten(1) / SLOW_FLOW)
        logits: Tensor = self.classifier(F.relu(self.hidden(cells)))
        return logits


class OFFStream(Stream):
    """A stream of TSN whose features OFF follows through time."""

    config: TSNOFFConfig

    def __init__(self, modality: str, config: TSNOFFConfig) -> None:
        super().__init__(modality, config)
        sizes = [[self.backbone.sizes[name] for name in level] for level in config.levels]
        strides = [level[0].stride for level in sizes]
        for level, here in zip(sizes, strides, strict=True):
            if any(size.stride != here for size in level):
                raise ValueError(f"the maps of a level must have the same size, got {level}")
        self.wanted = tuple(name for level in config.levels for name in level)
        if not config.appearance:
            self.backbone.end_at(max(self.wanted, key=list(self.backbone.sizes).index))
            del self.consensus
        levels: list[Level] = []
        for number, maps in enumerate(sizes):
            stride = strides[min(number + 1, len(strides) - 1)] // strides[number]
            settings = config.kernels[number], config.widths[number], config.blocks[number]
            finer = levels[-1].channels if levels else 0
            levels.append(Level(sum(size.channels for size in maps), finer, stride, *settings, config))
        self.levels = nn.ModuleList(levels)
        self.classifiers = nn.ModuleList(self.make_consensus(level.channels) for level in levels)
        predicts_flow = config.flow_grid and modality == "rgb"
        self.flow = nn.Conv2d(levels[0].channels, 2, 1) if predicts_flow else None
        sees_flow = config.classifies_flow and predicts_flow
        self.flow_classifier = FlowClassifier(config.flow_grid, len(config.labels)) if sees_flow else None
        self._start()

    def _start(self) -> None:
        """He initialisation; the branches of residual blocks begin small, since nothing normalises them."""
        for level in self.levels:
            for module in level.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    assert module.bias is not None
                    nn.init.zeros_(module.bias)
                if isinstance(module, Bottleneck):
                    with torch.no_grad():
                        module.conv3.weight.mul_(BRANCH_AT_START)

    @property
    def scored(self) -> dict[str, tuple[str, ...]]:
        """The classifiers of the backbone, of the last level (4.3) and of the flow, as far as there are.

        If OFF's levels are all that there is, they all count.
        """
        of_off, off = tuple(self._name(number) for number in range(len(self.levels))), f"{self.modality} OFF"
        of_flow = () if self.flow_classifier is None else (self._of_flow,)
        if not self.config.appearance:
            return {off: (of_off[-1], *of_flow) if of_flow else of_off}
        return super().scored | {off: (of_off[-1], *of_flow)}

    def heads(self, snippets: Tensor, flow: Tensor | None = None) -> dict[str, Tensor]:
        """See `Stream.heads`; a head for each level beside that of the backbone."""
        return self.lesson(snippets, flow).heads

    def lesson(self, snippets: Tensor, given: Tensor | None = None) -> Lesson:
        """See `TSNOFF.lesson`. `given` is the flow, as in `Stream.seen`."""
        maps = self.maps(self.seen(snippets, given))
        heads = {self.modality: self.classified(maps)} if self.config.appearance else {}
        flow = None
        finer: Tensor | None = None
        for number, (level, classify) in enumerate(zip(self.levels, self.classifiers, strict=True)):
            finer = level(torch.cat([maps[name] for name in self.config.levels[number]], dim=3), finer)
            assert finer is not None
            heads[self._name(number)] = classify(finer.mean(dim=(2, 4, 5)))
            if number == 0 and self.flow is not None:
                cells = F.adaptive_avg_pool2d(finer.flatten(0, 2), self.config.flow_grid)
                flow = (FLOW_UNIT * self.flow(cells)).unflatten(0, (len(snippets), -1))
                if self.flow_classifier is not None:
                    heads[self._of_flow] = self.flow_classifier(flow)
        return Lesson(heads, flow)

    @property
    def _of_flow(self) -> str:
        return f"{self.modality} OFF flow"

    def _name(self, level: int) -> str:
        return f"{self.modality} OFF {level + 1}"


class TSNOFF(TSN):
    """TSN with an OFF sub-network beside the backbone of each stream.

    Trained in two stages: the backbones first, as TSN; then, with `frozen`, the rest (4.2.1).
    """

    config: TSNOFFConfig

    def __init__(self, config: TSNOFFConfig = TSNOFFConfig()) -> None:
        super().__init__(config)

    def make_stream(self, modality: str) -> Stream:
        has_off = not self.config.off or modality in self.config.off
        return OFFStream(modality, self.config) if has_off else super().make_stream(modality)

    def lesson(self, clip: Tensor, unlearned: Tensor | None = None) -> Lesson:
        """`heads`, and the predicted flow. Arguments as for `heads`."""
        snippets = self.snippets(clip)
        heads: dict[str, Tensor] = {}
        flow = None
        for stream in self._streams():
            if isinstance(stream, OFFStream):
                own = stream.lesson(snippets, unlearned)
            else:
                own = Lesson(stream.heads(snippets, unlearned), None)
            heads |= own.heads
            flow = flow if own.flow is None else own.flow
        return Lesson(heads, flow)

    def flow_pairs(self) -> tuple[list[int], list[int]]:
        """The places in a clip of the frames between which `lesson` predicts the flow: the first ones, the second ones.

        They are neighbours within snippets if OFF sees several frames of these, else those of neighbouring segments.
        """
        stream, (segments, length) = self.streams["rgb"], (self.config.segments, self.config.snippet)
        assert isinstance(stream, Stream)
        first, second = pairs(stream.shown(torch.arange(segments * length).view(1, segments, length)))
        return first.flatten().tolist(), second.flatten().tolist()

    @torch.no_grad()
    def flow_target(self, clip: Tensor) -> Tensor:
        """The flow that `lesson` should predict, by DIS, in the same form. `clip` as for the call, on any device."""
        stream = self.streams["rgb"]
        assert isinstance(stream, Stream)
        first, second = (each.flatten(0, 2) for each in pairs(luma(stream.shown(self.parted(clip)))))
        flow = DIS().one_way(first, second)
        return F.adaptive_avg_pool2d(flow, self.config.flow_grid).unflatten(0, (len(clip), -1)).to(clip.dtype)
