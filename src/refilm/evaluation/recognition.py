"""Evaluation of recognition: models are shown labelled clips that they have not learned from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refilm.data.flips import Flips
from refilm.data.labelled import ALL, Fold, LabelledClip, LabelledSet
from refilm.data.labelled_clips import read_timed
from refilm.errors import UsageError
from refilm.evaluation.accuracy import Verdict
from refilm.evaluation.clip_views import View, Views
from refilm.evaluation.flops import gflop
from refilm.evaluation.stopwatch import Stopwatch
from refilm.models.table import MODELS
from refilm.weights import load_weights

CHANCE, COMMONEST = "chance", "commonest-class"
_TOP = 5


@dataclass(frozen=True)
class Recognition:
    """A protocol: show each clip to a model, and compare the class that it tells with the label.

    views     what a model is shown

    For recognition of damaged and of restored clips, see `refilm.evaluation.through`.
    """

    name: str
    views: Views
    task: str = "recognition"
    baselines: Mapping[str, str] = field(
        default_factory=lambda: {CHANCE: "any class, by chance", COMMONEST: "the commonest class of the training clips"}
    )
    further: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        return f"{self.views.words}; clips that are held out in their fold"

    def thinned(self, every: int) -> Recognition:
        raise UsageError(f"{self.name} measures whole clips; leave out every")


@dataclass(frozen=True)
class Shown:
    """What a model makes of a clip.

    scores    [K], of each of its labels
    frames    that it was shown, all views together
    """

    scores: Tensor
    frames: int


class ModelRecogniser:
    """A model as a method, on its device.

    flips   what a flip does to labels, so that the scores of mirrored views go to the labels that they are for
    """

    def __init__(self, model: Any, device: torch.device, protocol: Recognition, flips: Flips) -> None:
        self.model, self._device, self.views = model, device, protocol.views
        labels = list(model.labels)
        self._other = [labels.index(other) if (other := flips.mirror.get(name)) in labels else -1 for name in labels]

    @torch.inference_mode()
    def __call__(self, clip: LabelledClip, stopwatch: Stopwatch | None = None) -> Shown:
        """The scores of a clip. Raises VideoError if it cannot be read."""
        views, clips = self._shown(clip)
        logits, shown = [], 0
        for seen in clips:
            began = time.perf_counter()
            logits.append(self.model(seen)[0].float().cpu())
            if stopwatch is not None:
                stopwatch.add((time.perf_counter() - began) / seen.shape[2])
            shown += seen.shape[2]
        return Shown(self.joined(views, logits), shown)

    @torch.inference_mode()
    def by_stream(self, views: Sequence[View], frames_u8: Tensor) -> dict[str, Tensor]:
        """The logits of each stream for each view of some frames [T, 3, h, w]. -> [views, K] each, see `joined`"""
        found = [self.model.by_stream(seen) for seen in self._of(views, frames_u8)]
        return {name: torch.cat([each[name].float().cpu() for each in found]) for name in found[0]}

    def joined(self, views: Sequence[View], logits: Sequence[Tensor]) -> Tensor:
        """The scores of a clip, from the logits [K] for each view."""
        scores = list(logits)
        if self.views.joins == "probabilities":
            scores = [each.softmax(dim=0) for each in scores]
        each_view = zip(views, scores, strict=True)
        unmirrored = [self._unmirrored(each) if view.mirrored else each for view, each in each_view]
        return torch.stack(unmirrored).nanmean(dim=0)

    def gflop(self, clip: LabelledClip) -> float:
        """The operations for a clip, all views together, see `flops.gflop`."""
        views, clips = self._shown(clip)
        seen = next(clips)
        with torch.inference_mode():
            return len(views) * gflop(lambda: self.model(seen))

    def _unmirrored(self, scores: Tensor) -> Tensor:
        """The scores of a mirrored view for the clip itself; NaN where a label has no mirrored counterpart."""
        return torch.stack([scores[other] if other >= 0 else scores.new_tensor(torch.nan) for other in self._other])

    def _shown(self, clip: LabelledClip) -> tuple[list[View], Iterator[Tensor]]:
        """What is shown of a clip: the views, and the input of the model [1, 3, T, height, width] for each."""
        sampling = self.model.sampling
        frames = read_timed(clip.footage, self.views.see(sampling), sampling.rate)
        views = list(self.views.over(frames, sampling))
        return views, self._of(views, frames.frames_u8)

    def _of(self, views: Sequence[View], frames_u8: Tensor) -> Iterator[Tensor]:
        sampling = self.model.sampling
        for view in views:
            yield view.of(frames_u8, sampling.height, sampling.width)[None].to(self._device)


def verdict_of(shown: Shown, labels: Sequence[str], clip: LabelledClip, fold: str) -> Verdict:
    """Raises UsageError if the model does not know the clip's label."""
    if clip.label not in labels:
        raise UsageError(f"{clip.source}: the model knows no {clip.label!r}; it knows {', '.join(labels)}")
    best = [labels[number] for number in shown.scores.argsort(descending=True).tolist()]
    hits = 100.0 * (best[0] == clip.label), 100.0 * (clip.label in best[:_TOP])
    return Verdict(shown.frames, clip.label, best[0], *hits, fold)


def baseline_verdicts(name: str, labels: Sequence[str], folds: Mapping[str, Fold]) -> dict[str, Verdict]:
    """What a baseline tells of the clips that are held out, without looking at them."""
    found = {}
    for fold, division in folds.items():
        counts = {label: sum(clip.label == label for clip in division.train) for label in labels}
        best = sorted(labels, key=lambda label: -counts[label])
        for clip in division.held_out:
            if name == CHANCE:
                told, top1, top5 = "", 100 / len(labels), 100 * min(_TOP / len(labels), 1)
            else:
                told, top1 = best[0], 100.0 * (best[0] == clip.label)
                top5 = 100.0 * (clip.label in best[:_TOP])
            found[clip.source] = Verdict(0, clip.label, told, top1, top5, fold)
    return found


def files_of(weights: str | Path | None) -> list[str | Path | None]:
    """The weight files that are meant: those in a folder, else the one. Raises UsageError for an empty folder."""
    if weights in (None, "default") or not Path(str(weights)).is_dir():
        return [weights]
    files: list[str | Path | None] = [*sorted(Path(str(weights)).glob("*.safetensors"))]
    if not files:
        raise UsageError(f"{weights}: no weight files here")
    return files


def learned_by(model: str, weights: str | Path | None) -> Mapping[str, Any]:
    """What weights say of their training. Raises WeightsError as `create_model`."""
    if weights == "default":
        weights = MODELS[model].weights
    return {} if weights is None else load_weights(weights).recipe


def fold_to_measure(labelled: LabelledSet, learned: Mapping[str, Any], fold: str, weights: str | Path | None) -> str:
    """The fold whose held-out clips weights may be measured on.

    learned   what the weights say of their training: "sets" gives the fold of each set, see `training.recognition`
    fold      that is asked for; "": that of the weights, or the first of the set

    Raises UsageError if the weights have learned from the clips that are to be measured.
    """
    of_weights = learned.get("sets", {}).get(labelled.name)
    if of_weights is None:
        return fold or next(iter(labelled.folds))
    if of_weights == ALL:
        raise UsageError(
            f"{weights} has learned from all clips of {labelled.name}; measure weights of one of its folds"
        )
    if fold and fold != of_weights:
        raise UsageError(
            f"{weights} was trained with fold {of_weights} of {labelled.name} held out, so it has seen clips of fold "
            f"{fold}; leave out fold, or take other weights"
        )
    return str(of_weights)


def division(labelled: LabelledSet, fold: str) -> Fold:
    """The clips of a fold; of "all", all clips are measured. Raises UsageError if nothing is held out."""
    if fold == ALL:
        return Fold(labelled.clips, labelled.clips)
    found = labelled.fold(fold)
    if not found.held_out:
        raise UsageError(f"{labelled.name}: nothing is held out in fold {fold}")
    return found
