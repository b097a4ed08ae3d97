"""Training of recognition: labelled clips, the loss over all classifiers of a model, and validation."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data.camera_motion import CameraMotions, MadeClip, MovingClip, read_motions
from refilm.data.degradations import small_and_enlarged
from refilm.data.drawn_figures import DrawnFigures
from refilm.data.draws import between, chance
from refilm.data.flips import Flips
from refilm.data.labelled import ALL, LabelledClip, LabelledSet, find_labelled
from refilm.data.labelled_clips import Balanced, Looks, See, TimedFrames, random_view, read_all, read_timed
from refilm.data.pack import spread
from refilm.errors import RefilmError
from refilm.evaluation.accuracy import balanced_accuracy
from refilm.evaluation.clip_views import drawn, kept_for, middle_view
from refilm.models import create_model
from refilm.models.contract import Sampling
from refilm.stages.snippets import sample_times
from refilm.training.config import RecognitionConfig, TrainConfig
from refilm.training.losses import charbonnier
from refilm.training.with_backbone import WithBackbone

Parts = Sequence[tuple[LabelledSet, Sequence[LabelledClip]]]  # sets, and which of their clips are meant

# Validation clips that are computed at once.
_AT_ONCE = 8
# How much smaller films look by `shrunk`, along each side.
SHRUNK_BY = 4
# Pixels of flow that count as much as 1 in other losses.
_FLOW_UNIT = 4.0


Made = CameraMotions | DrawnFigures


@dataclass(frozen=True)
class Material:
    """Labelled clips in memory.

    labels   of each clip
    flips    for each clip, those of its set
    """

    clips: Sequence[TimedFrames]
    labels: Sequence[str]
    flips: Sequence[Flips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, part: slice) -> Material:
        return Material(self.clips[part], self.labels[part], self.flips[part])


class Views(NamedTuple):
    """A batch of views of labelled clips.

    clips      [N, 3, T, H, W] in [0, 1]
    targets    [N], the indices of their classes
    flow       that a model with `lesson` should predict, [N, P, 2, grid, grid] in pixels; None where it is not to
    unlearned  see `Recognizer.unlearned`
    """

    clips: Tensor
    targets: Tensor
    flow: Tensor | None
    unlearned: Tensor | None


class Recognition(WithBackbone):
    """Trains on views of labelled clips; all classes are drawn equally often.

    Some, or all, of the clips are made from stills, see `CameraMotions`. A model with several classifiers has
    `heads(clip)`, the logits of each by name, which are trained by a loss each ("Optical flow guided feature", eq. 9);
    the losses are summed.
    """

    config: RecognitionConfig
    protocol = "whole frames, the middles of the segments, top-1 in %, a value a clip"
    plain = "the commonest class"
    figure = "top1", "%"
    measures_frames = False

    def __init__(
        self, config: RecognitionConfig, train: Material, val: Material | None, made: Made | None = None
    ) -> None:
        super().__init__(config, val)
        self.train_clips, self._made = train, made
        self._draws = Balanced(train.labels, config.seed)
        self._looks = Looks(config.area, config.aspect, config.colour, config.flips)

    @classmethod
    def read(cls, config: TrainConfig, train: bool = True) -> Self:
        assert isinstance(config, RecognitionConfig)
        if not (config.train or config.data or config.synthetic == 1):
            raise RefilmError("nothing to train on: give a folder of labelled clips by --data FOLDER")
        if config.synthetic and not (config.photographs or config.films):
            raise RefilmError("nothing to train on: give a folder of pictures as photographs, or of films as films")
        own = find_labelled(config.data) if config.data else None
        others = [find_labelled(folder) for folder in config.train]
        measured = find_labelled(config.val) if config.val else None
        if own is not None and not config.fold:
            config = replace(config, fold=next(iter(own.folds)))
        sets = [*([own] if own else []), *others]
        classes = _classes(config, sets)
        config = replace(config, config={**config.config, "labels": classes})
        sampling = _sampling(config)
        for note in dict.fromkeys(note for found in sets for note in found.notes):
            print(note, flush=True)

        def material(parts: Parts, scale: float, most: int | None) -> Material:
            clips = [(found, clip) for found, part in parts for clip in part if clip.label in classes]
            see = kept_for(round(scale * sampling.height), round(scale * sampling.width))
            if most is not None:
                clips = _within_memory(clips, see, sampling.rate, config, most)
            frames = read_all([clip for _, clip in clips], see, sampling.rate)
            return Material(
                frames, [clip.label for _, clip in clips], [found.flips.among(classes) for found, _ in clips]
            )

        learned = Material([], [], [])
        if train:
            parts: Parts = [(other, other.clips) for other in others]
            if own is not None:
                parts = [(own, own.fold(config.fold).train), *parts]
            there = {clip.label for _, clips in parts for clip in clips} | set(_made_labels(config))
            if absent := [name for name in classes if name not in there]:
                raise RefilmError(f"there is no clip to learn {absent[0]!r} from; all its clips are held out")
            learned = material(parts, config.kept_scale, config.train_clips)
        made: Made | None = None
        aside: Made | None = None
        if config.synthetic:
            made, aside = read_motions(config.photographs, config.films, config.cutouts)
            if config.made == "figures":
                made, aside = DrawnFigures(made.stills), DrawnFigures(aside.stills)
        began = time.monotonic()
        val = None
        if measured is not None:
            val = material([(measured, measured.clips)], 1.0, None)
        elif own is not None and (held_out := own.fold(config.fold).held_out):
            val = material([(own, held_out)], 1.0, None)
        elif own is None and aside is not None:
            val = made_material(aside, sampling, config.made_val)
        problem = cls(config, learned, val, made)
        problem.learned_from = {"sets": {f.name: config.fold if f is own else ALL for f in sets}}
        problem.seconds_to_read_val = time.monotonic() - began
        return problem

    @classmethod
    def counted(cls, config: TrainConfig) -> tuple[int, int]:
        assert isinstance(config, RecognitionConfig)
        train = sum(len(find_labelled(folder).clips) for folder in config.train)
        val = 0
        if config.data:
            fold = find_labelled(config.data).fold(config.fold)
            train, val = train + len(fold.train), len(fold.held_out)
        return min(train, config.train_clips or train), val

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(groups, momentum=0.9, weight_decay=self.config.weight_decay)
        return super().optimizer(groups)

    @torch.no_grad()
    def draw(self, step: int) -> Views:
        random = self._draws.generator(step)
        views, targets, moving = [], [], []
        for _ in range(self.config.batch):
            made = self._moving(random) if chance(random, self.config.synthetic) else None
            if made is None:
                view, label = self._view(self._draws.draw(random), random)
            else:
                view, label = made.frames, made.label
            views.append(view)
            targets.append(self.model.labels.index(label))
            moving.append(made)
        clips = torch.stack(views)
        flow = self._flow(clips, moving) if self.config.flow_weight else None
        return Views(clips, torch.tensor(targets), flow, self.model.unlearned(clips))

    def _moving(self, random: torch.Generator) -> MadeClip:
        assert self._made is not None
        sampling = self.model.sampling
        share = Fraction(between(random, *self.config.span))
        seconds = self._made.seconds(random, share * sampling.seconds)
        times = torch.tensor([float(time) for time in sample_times(sampling, Fraction(0), seconds)])
        return self._made.draw(random, times, sampling.height, sampling.width)

    def _view(self, number: int, random: torch.Generator) -> tuple[Tensor, str]:
        clip, sampling = self.train_clips.clips[number], self.model.sampling
        low, high = self.config.span
        share, begin = torch.rand(2, generator=random).tolist()
        length = Fraction(low + (high - low) * share) * clip.seconds
        first = Fraction(begin) * (clip.seconds - length)
        shifts = torch.rand(sampling.segments, generator=random).sub(0.5).tolist()
        places = drawn(sampling, clip.times, first, first + length, shifts)
        label, flips = self.train_clips.labels[number], self.train_clips.flips[number]
        frames = clip.frames_u8[places]
        if self.config.shrunk and clip.film is not None and chance(random, self.config.shrunk):
            frames = small_and_enlarged(frames, *(max(1, side // SHRUNK_BY) for side in clip.film))
        return random_view(frames, label, sampling.height, sampling.width, self._looks, flips, random)

    def loss(self, views: Views, step: int) -> Tensor:
        clips, targets = views.clips, views.targets
        given = () if views.unlearned is None else (views.unlearned,)
        flow: Tensor | None = None
        if self.config.flow_weight:
            heads, flow = self.model.lesson(clips, *given)
        else:
            heads = self.model.heads(clips, *given) if hasattr(self.model, "heads") else {"": self.model(clips)}
        smoothing = self.config.smoothing
        losses = {
            name: F.cross_entropy(logits.float(), targets, label_smoothing=smoothing) for name, logits in heads.items()
        }
        self.log_dict({f"loss {name}".strip(): loss for name, loss in losses.items()}, batch_size=1)
        loss = torch.stack(list(losses.values())).sum()
        if flow is not None and views.flow is not None:
            distance = charbonnier(flow.float() / _FLOW_UNIT, views.flow / _FLOW_UNIT, 0.1)
            self.log("flow_distance", distance, batch_size=1)
            loss = loss + self.config.flow_weight * distance
        return loss

    def _flow(self, clips: Tensor, moving: Sequence[MadeClip | None]) -> Tensor:
        """The flow that a model should predict, [N, P, 2, grid, grid] in pixels: exact where that is known."""
        first, second = self.model.flow_pairs()
        grid: int = self.model.config.flow_grid
        target = torch.zeros(len(clips), len(first), 2, grid, grid)
        real = [number for number, clip in enumerate(moving) if not isinstance(clip, MovingClip)]
        if real:
            target[real] = self.model.flow_target(clips[real]).float()
        for number, clip in enumerate(moving):
            if isinstance(clip, MovingClip):
                target[number] = clip.flow(first, second, grid)
        return target

    def validate(self, model: Any, val: Material, frames_a_clip: int) -> dict[str, list[float]]:
        found: list[int] = []
        for begin in range(0, len(val), _AT_ONCE):
            clips = torch.stack([middle_view(clip, model.sampling) for clip in val.clips[begin : begin + _AT_ONCE]])
            found += model(clips.to(self.device)).argmax(dim=1).tolist()
        right = [100.0 * (model.labels[n] == label) for n, label in zip(found, val.labels, strict=True)]
        commonest = max(sorted(set(val.labels)), key=list(val.labels).count)
        plain = [100.0 * (label == commonest) for label in val.labels]
        return {"top1": right, "top1_plain": plain}

    def further(self, figures: dict[str, list[float]], gains: list[float]) -> str:
        assert self.val is not None
        return f", balanced {balanced_accuracy(figures['top1'], self.val.labels):.1f} %"


def made_material(motions: Made, sampling: Sampling, count: int) -> Material:
    """Clips made from stills, as many of each label: always the same ones of the same stills."""
    clips, labels = [], [motions.labels[number % len(motions.labels)] for number in range(count)]
    times = tuple(Fraction(number) / sampling.rate for number in range(math.ceil(sampling.seconds * sampling.rate)))
    moments = torch.tensor([float(time) for time in times])
    for number, label in enumerate(labels):
        random = torch.Generator().manual_seed(number)
        clip = motions.draw(random, moments, sampling.height, sampling.width, label)
        frames_u8 = clip.frames.mul(255).round().byte().transpose(0, 1).contiguous()
        clips.append(TimedFrames(frames_u8, times, sampling.seconds))
    return Material(clips, labels, [Flips()] * count)


def _within_memory(
    clips: list[tuple[LabelledSet, LabelledClip]], see: See, rate: Fraction, config: RecognitionConfig, most: int
) -> list[tuple[LabelledSet, LabelledClip]]:
    """As many clips as fit into `max_gb`, judged by four of them, and at most `most`, unless it is 0; evenly spread."""
    clips = [clips[place] for place in spread(len(clips), most)]
    if not clips:
        return clips
    sample = [clips[place][1] for place in spread(len(clips), 4)]
    size = sum(read_timed(clip.footage, see, rate).frames_u8.numel() for clip in sample) / len(sample)
    fits = max(1, int(1e9 * config.max_gb / size))
    if fits >= len(clips):
        return clips
    print(
        f"of {len(clips)} clips to learn from, {fits} are read, which fit into max_gb = {config.max_gb:g}", flush=True
    )
    return [clips[place] for place in spread(len(clips), fits)]


def _made_labels(config: RecognitionConfig) -> tuple[str, ...]:
    if not config.synthetic:
        return ()
    return DrawnFigures.labels if config.made == "figures" else CameraMotions.labels


def _classes(config: RecognitionConfig, sets: Sequence[LabelledSet]) -> tuple[str, ...]:
    labels = [label for found in sets for label in found.labels]
    there = tuple(dict.fromkeys([*labels, *_made_labels(config)]))
    unknown = [name for name in config.classes if name not in there]
    if unknown:
        raise RefilmError(f"no clip has the label {unknown[0]!r}; there are: {', '.join(there)}")
    return config.classes or there


def _sampling(config: RecognitionConfig) -> Sampling:
    """The sampling of the model that the config describes."""
    with torch.device("meta"):
        model: Any = create_model(config.model, weights=None, **config.config)
    return model.sampling
