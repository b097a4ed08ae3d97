"""Evaluation of recognition: models are shown labelled clips that they have not learned from."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refilm.data.flips import Flips
from refilm.data.labelled import ALL, Fold, LabelledClip, LabelledSet
from refilm.data.labelled_clips import TimedFrames, read_timed
from refilm.errors import UsageError
from refilm.evaluation.accuracy import Verdict
from refilm.evaluation.clip_views import View, Views, codes
from refilm.evaluation.flops import gflop
from refilm.evaluation.restorers import ModelRestorer
from refilm.evaluation.stopwatch import Stopwatch
from refilm.models.defaults import default_model
from refilm.models.table import create_model
from refilm.stages.damage import CodingJudge, NoiseJudge
from refilm.stages.snippets import reduced
from refilm.video import Frame
from refilm.video.colour import Colour
from refilm.video.pixel_format import PixelFormat
from refilm.video.rgb import from_rgb

CHANCE, COMMONEST = "chance", "commonest-class"
_TOP = 5
_CODES, _FULL_RANGE = PixelFormat("gbrp", "rgb", 8), Colour(matrix="rgb", range="pc", transfer="iec61966-2-1")
# What decides how strongly a restorer works, as in jobs.
_JUDGES: dict[str, Any] = {"denoising": NoiseJudge, "deblocking": CodingJudge}


@dataclass(frozen=True)
class Damage:
    """What is done to clips before they are recognised.

    spoil      as in `restoration.Restoration`
    words      the damage in words, for the result files
    restored   the task whose default model then restores the frames; "": none does
    """

    spoil: Callable[[Tensor, torch.Generator], Tensor]
    words: str
    restored: str = ""


@dataclass(frozen=True)
class Recognition:
    """A protocol: show each clip to a model, and compare the class that it tells with the label.

    views     what a model is shown
    damage    what is done to the clips before; None: nothing
    """

    name: str
    views: Views
    damage: Damage | None = None
    task: str = "recognition"
    baselines: Mapping[str, str] = field(
        default_factory=lambda: {CHANCE: "any class, by chance", COMMONEST: "the commonest class of the training clips"}
    )
    further: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        words = f"{self.views.words}; clips that are held out in their fold"
        if self.damage is None:
            return words
        after = f", then restored by the default model for {self.damage.restored}" if self.damage.restored else ""
        return f"{words}; the clips are first damaged by {self.damage.words}{after}"

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
        self.model, self._device, self._protocol = model, device, protocol
        labels = list(model.labels)
        self._other = [labels.index(other) if (other := flips.mirror.get(name)) in labels else -1 for name in labels]
        self._restorer: ModelRestorer | None = None
        damage = protocol.damage
        if damage is not None and damage.restored:
            network: Any = create_model(default_model(damage.restored))
            self._restorer = ModelRestorer(network.to(device), device, judge=_JUDGES.get(damage.restored))

    @torch.inference_mode()
    def __call__(self, clip: LabelledClip, stopwatch: Stopwatch | None = None) -> Shown:
        """The scores of a clip. Raises VideoError if it cannot be read."""
        sampling = self.model.sampling
        frames, views = self._frames(clip)
        joined, shown = [], 0
        for view in views:
            seen = view.of(frames.frames_u8, sampling.height, sampling.width)[None].to(self._device)
            began = time.perf_counter()
            scores = self.model(seen)[0].float().cpu()
            if stopwatch is not None:
                stopwatch.add((time.perf_counter() - began) / seen.shape[2])
            if self._protocol.views.joins == "probabilities":
                scores = scores.softmax(dim=0)
            joined.append(self._unmirrored(scores) if view.mirrored else scores)
            shown += seen.shape[2]
        return Shown(torch.stack(joined).nanmean(dim=0), shown)

    def gflop(self, clip: LabelledClip) -> float:
        """The operations for a clip, all views together, see `flops.gflop`."""
        sampling = self.model.sampling
        frames, views = self._frames(clip)
        seen = views[0].of(frames.frames_u8, sampling.height, sampling.width)[None].to(self._device)
        with torch.inference_mode():
            return len(views) * gflop(lambda: self.model(seen))

    def _unmirrored(self, scores: Tensor) -> Tensor:
        """The scores of a mirrored view for the clip itself; NaN where a label has no mirrored counterpart."""
        return torch.stack([scores[other] if other >= 0 else scores.new_tensor(torch.nan) for other in self._other])

    def _frames(self, clip: LabelledClip) -> tuple[TimedFrames, list[View]]:
        sampling, views = self.model.sampling, self._protocol.views
        if self._protocol.damage is None:
            frames = read_timed(clip.footage, views.see(sampling), sampling.rate)
            return frames, list(views.over(frames, sampling))
        whole = read_timed(clip.footage, _upright, sampling.rate)
        return self._damaged(clip, whole)

    def _damaged(self, clip: LabelledClip, whole: TimedFrames) -> tuple[TimedFrames, list[View]]:
        """The frames of a clip as they are seen after damage and restoration. [T, 3, H, W] before"""
        damage, sampling = self._protocol.damage, self.model.sampling
        assert damage is not None
        height, width = (side // 4 * 4 for side in whole.frames_u8.shape[2:])
        seed = torch.Generator().manual_seed(zlib.crc32(clip.source.encode()))
        spoilt = damage.spoil(whole.frames_u8[..., :height, :width], seed)
        # frames that no view shows need not be restored
        places = sorted({place for view in self._protocol.views.over(whole, sampling) for place in view.places})
        pictures: Iterator[Tensor] = (spoilt[place] for place in places)
        if self._restorer is not None:
            pictures = self._restorer(spoilt, places)
        see = self._protocol.views.see(sampling)
        kept = {place: see(_frame(picture), 0) for place, picture in zip(places, pictures, strict=True)}
        blank = torch.zeros_like(next(iter(kept.values())))
        seen = replace(whole, frames_u8=torch.stack([kept.get(place, blank) for place in range(len(spoilt))]))
        return seen, list(self._protocol.views.over(seen, sampling))


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


def _upright(frame: Frame, rotation: int) -> Tensor:
    """The whole frame, uint8 RGB [3, H, W]."""
    turned = rotation % 180 != 0
    height, width = (frame.width, frame.height) if turned else (frame.height, frame.width)
    return codes(reduced(frame, height, width, rotation))


def _frame(picture: Tensor) -> Frame:
    """A picture [3, H, W] in [0, 1] as a frame of 8 bits."""
    return Frame(from_rgb(picture.clamp(0, 1), _CODES, _FULL_RANGE), _CODES, _FULL_RANGE, Fraction(0), Fraction(1))
