"""Recognition through restoration: recognisers are shown damaged clips, and what models make of these.

A recogniser that learned from sharp film meets film that is smaller, noisy or compressed. Which model in front of it
keeps its accuracy, without touching it? The rows of the answer are the original clips, the damaged ones (enlarged
bicubically where they are smaller), and those that each model has restored; the columns are the recogniser's streams,
and all of them together. A pair of models has a row as well, of which the first one's pictures go to the streams that
look at single frames, and the second one's to those that look at motion. It needs no further run of the models.

Source   Zhang et al., "Two-Stream Action Recognition-Oriented Video Super-Resolution", ICCV 2019, arXiv 1903.05577,
         Tables 2 to 6: SoSR for the spatial stream, ToSR for the temporal one, scores fused late. The optical flow is
         DIS's here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refilm.data.labelled import LabelledClip, LabelledSet, find_labelled
from refilm.data.labelled_clips import read_timed
from refilm.errors import UsageError
from refilm.evaluation.clip_views import codes
from refilm.evaluation.protocols import PROTOCOLS
from refilm.evaluation.recognition import ModelRecogniser, Recognition, division, files_of, fold_to_measure, learned_by
from refilm.evaluation.restoration import Restoration
from refilm.evaluation.results import mean
from refilm.evaluation.through_methods import Method, asked_for, methods_of, shown_name
from refilm.evaluation.through_pictures import write_sheet
from refilm.evaluation.through_results import Row, Table, Told, write_through
from refilm.models.contract import APPEARANCE
from refilm.models.table import MODELS, create_model, list_models, named, weights_name
from refilm.options import joined_by_plus
from refilm.stages.snippets import reduced
from refilm.tasks import TASKS
from refilm.video import Frame
from refilm.video.colour import Colour
from refilm.video.pixel_format import PixelFormat
from refilm.video.rgb import from_rgb

FUSED = "fused"
_CODES, _FULL_RANGE = PixelFormat("gbrp", "rgb", 8), Colour(matrix="rgb", range="pc", transfer="iec61966-2-1")


@dataclass(frozen=True)
class Arm:
    """A row: the names of the methods whose pictures the streams are shown.

    single   to those that look at single frames
    motion   to those that look at motion
    """

    single: str
    motion: str

    @property
    def name(self) -> str:
        return self.single if self.single == self.motion else f"{self.single} + {self.motion}"

    def of(self, stream: str) -> str:
        """The method whose pictures a stream is shown."""
        return self.single if stream == APPEARANCE else self.motion


@dataclass(frozen=True)
class Recogniser:
    """One of the recognisers whose scores are fused: its name, and a weight file for each fold or seed."""

    model: str
    files: tuple[str | Path | None, ...]

    @classmethod
    def of(cls, text: str, weights: str | Path) -> Recogniser:
        """From a name, a weight file, or a folder of weight files. Raises UsageError if it recognises nothing."""
        if text not in MODELS and Path(text).is_dir():
            files = files_of(text)
            name, _ = named(None, files[0])
        else:
            name, file = named(text, weights)
            files = files_of(file)
            name = name or text
        if name is None or name not in MODELS or MODELS[name].task != "recognition":
            known = ", ".join(model for model in list_models() if MODELS[model].task == "recognition")
            raise UsageError(f"{text} recognises nothing; with --through, give recognisers: {known}")
        return cls(name, tuple(files))


@dataclass(frozen=True)
class Run:
    """A fold or a seed: recognisers that have not seen the clips of a fold."""

    name: str
    fold: str
    methods: tuple[ModelRecogniser, ...]


def evaluate_through(
    model: str,
    folder: str | Path,
    through: str,
    protocol: str | None = None,
    results_dir: str | Path = "results",
    *,
    weights: str | Path = "default",
    device: str = "cpu",
    pictures: str | Path | None = None,
    fold: str = "",
    note: Callable[[str], None] = lambda line: None,
) -> Path:
    """Measure recognisers on clips before and after restoration, and write `results_dir/recognition/<folder's name>`.

    model      a recogniser, or several whose scores are averaged, "RGB+FLOW": each a name, a weight file, or a folder
               of weight files, one for each fold, or several for one fold, which are seeds
    folder     labelled clips, see `refilm.data.labelled`
    through    what restores: names of models and weight files, "sosr-small,tosr-small", all for one task, which says
               the damage; "upscale", "denoise" or "deblock" for a default model; pairs "A+B", see `Arm`. Of two models,
               the pair of the first for single frames and the second for motion is a row as well
    protocol   what recognisers are shown of a clip, a name of PROTOCOLS; by default the middles of the segments
    weights    of a single recogniser: "default", a weight file, or a folder of these
    pictures   folder for a sheet for the first clip of each class, see `through_pictures`
    device, fold, note   as for `evaluate`

    -> the path of the table. Raises UsageError for models of other tasks, weights that have seen the clips, and for
    clips whose label is not known; else as `evaluate`.
    """
    views = _views(protocol)
    recognisers = [Recogniser.of(part, weights) for part in joined_by_plus(model)]
    if len(recognisers) > 1 and weights != "default":
        raise UsageError("weights are of one recogniser; give the files themselves: A.safetensors+B.safetensors")
    damage, texts, pairs = asked_for(through)
    labelled = find_labelled(folder)
    for line in labelled.notes:
        note(line)
    runs = _runs(recognisers, labelled, views, fold, device)
    clips = [(clip, name) for name in dict.fromkeys(r.fold for r in runs) for clip in division(labelled, name).held_out]
    _check([clip for clip, _ in clips], runs)
    methods = methods_of(damage, texts, [clip for clip, _ in clips], device)
    columns = _columns(recognisers, runs[0])
    arms = [Arm(name, name) for name in methods]
    both_kinds = len({stream == APPEARANCE for _, stream in columns.values()}) == 2
    if both_kinds:
        arms += [Arm(*(shown_name(text) for text in pair)) for pair in pairs]
    measuring = _Measuring(damage, methods, arms, columns)
    sheets: dict[str, LabelledClip] = {}
    for clip, of_fold in clips:
        picture = None
        if pictures is not None and clip.label not in sheets:
            sheets[clip.label] = clip
            folder_of = f"through-{damage.name}-{'+'.join(r.model for r in recognisers)}"
            picture = Path(pictures) / folder_of / f"{Path(clip.source).stem}.png"
        told = measuring.measure(clip, [run for run in runs if run.fold == of_fold], picture)
        note(f"{clip.source}  {clip.label}  " + ", ".join(f"{arm}: {label}" for arm, label in told.items()))
    table = Table(
        labelled.name,
        tuple((r.model, _of_files(r)) for r in recognisers),
        damage.name,
        f"{views.description}; the clips are first damaged: {damage.spoilt}",
        "Y" if damage.on_luma else "RGB",
        tuple(columns),
        tuple(_lacking(columns, pairs)),
        tuple(
            Row(
                arm.name,
                methods[arm.single].weights if arm.single == arm.motion else None,
                methods[arm.single].parameters + (methods[arm.motion].parameters if arm.single != arm.motion else 0),
                measuring.psnr_db(arm),
                tuple(measuring.told[arm.name]),
            )
            for arm in arms
        ),
    )
    return write_through(Path(results_dir) / "recognition", table, torch.device(device))


class _Measuring:
    """Measures clip by clip. `told` has what was told of each, by the name of the arm."""

    def __init__(
        self,
        damage: Restoration,
        methods: Mapping[str, Method],
        arms: Sequence[Arm],
        columns: Mapping[str, tuple[int, str]],
    ) -> None:
        self._damage, self._methods, self._arms, self._columns = damage, methods, arms, columns
        self._psnr: dict[str, list[float]] = {name: [] for name in methods}
        self.told: dict[str, list[Told]] = {arm.name: [] for arm in arms}

    def psnr_db(self, arm: Arm) -> float | None:
        """The mean over clips of PSNR; None for the original clips, and for a pair, whose models have their own."""
        return mean(self._psnr[arm.single]) if arm.single == arm.motion and self._psnr[arm.single] else None

    def measure(self, clip: LabelledClip, runs: Sequence[Run], picture: Path | None) -> dict[str, str]:
        """What is told of a clip by all streams of the first run, by arm. `picture`: where a sheet is written."""
        whole = read_timed(clip.footage, _upright)
        truth_u8, spoilt = self._damage.pair(whole.frames_u8, clip.source)
        whole = replace(whole, frames_u8=truth_u8)
        # recognisers of all runs have the same sampling as those of the first
        shown = [list(method.views.over(whole, method.model.sampling)) for method in runs[0].methods]
        places = sorted({place for views in shown for view in views for place in view.places})
        logits: dict[tuple[str, str, int], dict[str, Tensor]] = {}  # by method, run and number of the recogniser
        seen: dict[tuple[str, int], Any] = {}
        for name, method in self._methods.items():
            for number, frames_u8 in enumerate(self._seen(name, method, runs[0], truth_u8, spoilt, places)):
                frames = replace(whole, frames_u8=frames_u8)
                recogniser = runs[0].methods[number]
                views = seen[name, number] = list(recogniser.views.over(frames, recogniser.model.sampling))
                for run in runs:
                    logits[name, run.name, number] = run.methods[number].by_stream(views, frames_u8)
        if picture is not None:
            restorers = {name: method.restore for name, method in self._methods.items() if method.restore is not None}
            write_sheet(picture, restorers, truth_u8, spoilt)
        first: dict[str, str] = {}
        for arm in self._arms:
            for run in runs:
                told = self._verdict(arm, run, logits, seen)
                self.told[arm.name].append(Told(run.name, clip.source, clip.label, told))
                first.setdefault(arm.name, told[FUSED])
        return first

    def _seen(
        self, name: str, method: Method, run: Run, truth_u8: Tensor, spoilt: Tensor, places: Sequence[int]
    ) -> list[Tensor]:
        """For each recogniser, the clip in the size that it sees, [T, 3, h, w]; black where no view shows it."""
        pictures: Iterator[Tensor] = (truth_u8[place].float() / 255 for place in places)
        if method.restore is not None:
            pictures = method.restore(spoilt, places)
        see = [each.views.see(each.model.sampling) for each in run.methods]
        kept: list[dict[int, Tensor]] = [{} for _ in see]
        quality = []
        for place, picture in zip(places, pictures, strict=True):
            if method.restore is not None:
                quality.append(self._damage.psnr_db(picture, truth_u8[place].float() / 255))
            for number, look in enumerate(see):
                kept[number][place] = look(_frame(picture), 0)
        if quality:
            self._psnr[name].append(mean(quality))
        filled = []
        for of_one in kept:
            blank = torch.zeros_like(next(iter(of_one.values())))
            filled.append(torch.stack([of_one.get(place, blank) for place in range(len(truth_u8))]))
        return filled

    def _verdict(
        self,
        arm: Arm,
        run: Run,
        logits: Mapping[tuple[str, str, int], Mapping[str, Tensor]],
        seen: Mapping[tuple[str, int], Any],
    ) -> dict[str, str]:
        """The label that is told by each column's stream, and by all of them."""
        labels = list(run.methods[0].model.labels)
        told, together = {}, []
        for number, recogniser in enumerate(run.methods):
            own = {column: stream for column, (owner, stream) in self._columns.items() if owner == number}
            scores = {c: logits[arm.of(stream), run.name, number][stream] for c, stream in own.items()}
            order = [list(recogniser.model.labels).index(label) for label in labels]
            views = seen[arm.single, number]
            for column, each in scores.items():
                told[column] = labels[int(recogniser.joined(views, list(each))[order].argmax())]
            fused = torch.stack(list(scores.values())).sum(dim=0)
            joined = recogniser.joined(views, list(fused))[order]
            if len(run.methods) > 1 and recogniser.views.joins == "logits":
                joined = joined.softmax(dim=0)
            together.append(joined)
        return told | {FUSED: labels[int(torch.stack(together).mean(dim=0).argmax())]}


def _views(protocol: str | None) -> Recognition:
    name = protocol or TASKS["recognition"].protocol
    found = PROTOCOLS.get(name) or PROTOCOLS.get(f"recognition-{name}")
    if not isinstance(found, Recognition):
        known = ", ".join(each.name for each in PROTOCOLS.values() if isinstance(each, Recognition))
        raise UsageError(f"with --through, the protocol says what recognisers are shown: {known}; got {name!r}")
    return found


def _runs(
    recognisers: Sequence[Recogniser], labelled: LabelledSet, views: Recognition, fold: str, device: str
) -> list[Run]:
    """The folds, and the seeds of each, for which there are weights of all recognisers."""
    by_fold: list[dict[str, list[str | Path | None]]] = []
    for recogniser in recognisers:
        found: dict[str, list[str | Path | None]] = {}
        for file in recogniser.files:
            of_file = fold_to_measure(labelled, learned_by(recogniser.model, file), fold, file or recogniser.model)
            found.setdefault(of_file, []).append(file)
        by_fold.append(found)
    common = [name for name in by_fold[0] if all(name in found for found in by_fold)]
    if not common:
        told = "; ".join(f"{r.model}: {', '.join(f)}" for r, f in zip(recognisers, by_fold, strict=True))
        raise UsageError(f"the recognisers have no fold in common whose clips they have not seen ({told})")
    runs = []
    for name in sorted(common, key=lambda name: (len(name), name)):
        counts = min(len(found[name]) for found in by_fold)
        for seed in range(counts):
            methods = []
            for recogniser, found in zip(recognisers, by_fold, strict=True):
                network: Any = create_model(recogniser.model, weights=found[name][seed]).to(device).eval()
                methods.append(ModelRecogniser(network, torch.device(device), views, labelled.flips))
            called = f"fold {name}" if counts == 1 else f"fold {name}, seed {seed + 1}"
            runs.append(Run(called, name, tuple(methods)))
    return runs


def _check(clips: Sequence[LabelledClip], runs: Sequence[Run]) -> None:
    """Raises UsageError if the recognisers of different runs, or those that are fused, are not alike."""
    known = set(runs[0].methods[0].model.labels)
    for run in runs:
        for first, method in zip(runs[0].methods, run.methods, strict=True):
            if set(method.model.labels) != known:
                raise UsageError("recognisers whose scores are fused must know the same labels, and these do not")
            if method.model.sampling != first.model.sampling:
                raise UsageError("the weight files of a recogniser must look at the same frames, and these do not")
    for clip in clips:
        if clip.label not in known:
            raise UsageError(f"{clip.source}: the model knows no {clip.label!r}; it knows {', '.join(sorted(known))}")


def _columns(recognisers: Sequence[Recogniser], run: Run) -> dict[str, tuple[int, str]]:
    """The streams by their titles: the number of the recogniser, and the name of its stream."""
    streams = [(number, name) for number, method in enumerate(run.methods) for name in method.model.sees]
    names = [name for _, name in streams]
    models = [recogniser.model for recogniser in recognisers]
    owners = [m if models.count(m) == 1 else f"{m} {number}" for number, m in enumerate(models, 1)]
    return {name if names.count(name) == 1 else f"{owners[number]}: {name}": (number, name) for number, name in streams}


def _lacking(columns: Mapping[str, tuple[int, str]], pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What the table does not have, in sentences."""
    streams = {stream for _, stream in columns.values()}
    for is_lacking, what in (
        (APPEARANCE not in streams, "looks at single frames"),
        (streams == {APPEARANCE}, "looks at motion (optical flow, RGB difference or OFF)"),
    ):
        if is_lacking:
            further = f", and so no row for {' + '.join(map(shown_name, pairs[0]))}" if pairs else ""
            yield f"No recogniser with weights here {what}, so there is no such column{further}."


def _of_files(recogniser: Recogniser) -> str | None:
    names = [weights_name(recogniser.model, file) for file in recogniser.files]
    return names[0] if len(names) == 1 else f"{len(names)} files"


def _upright(frame: Frame, rotation: int) -> Tensor:
    """The whole frame, uint8 RGB [3, H, W]."""
    return codes(reduced(frame, *frame.upright_size(rotation), rotation))


def _frame(picture: Tensor) -> Frame:
    """A picture [3, H, W] in [0, 1] as a frame of 8 bits."""
    return Frame(from_rgb(picture.clamp(0, 1), _CODES, _FULL_RANGE), _CODES, _FULL_RANGE, Fraction(0), Fraction(1))
