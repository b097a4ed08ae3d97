"""Measuring a model and the baselines of its task on a folder of videos."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import refilm
from refilm.data.annotated import AnnotatedFilm, find_annotated
from refilm.data.labelled import LabelledSet, find_labelled
from refilm.data.layouts import Footage, find_footage, parts_of
from refilm.errors import UsageError
from refilm.evaluation.accuracy import confusion, overall, write_confusion
from refilm.evaluation.average_precision import mean_average_precision
from refilm.evaluation.detection import Detection, DetectionFigures, write_sheet
from refilm.evaluation.detection import overall as detection_figures
from refilm.evaluation.perceptual import PERCEPTUAL
from refilm.evaluation.pictures import Strip
from refilm.evaluation.protocols import PROTOCOLS, Pictures, Protocol
from refilm.evaluation.rate_distortion import (
    ANCHOR,
    Point,
    RateDistortion,
    Setting,
    figures_of,
    measured,
)
from refilm.evaluation.rate_distortion_results import read_curves, write_curves
from refilm.evaluation.recognition import (
    ModelRecogniser,
    Recognition,
    baseline_verdicts,
    division,
    files_of,
    fold_to_measure,
    learned_by,
    verdict_of,
)
from refilm.evaluation.results import Result, device_name, write_result
from refilm.evaluation.stopwatch import Stopwatch
from refilm.models.defaults import read_results
from refilm.models.table import MODELS, create_model, named, weights_name
from refilm.tasks import TASKS
from refilm.video.vmaf import program as vmaf_program

# an `interpolators.Interpolator` or a `restorers.Restorer`, depending on the protocol
Method = Any


def evaluate(
    model: str,
    folder: str | Path,
    protocol: str | None = None,
    results_dir: str | Path = "results",
    *,
    every: int | None = None,
    weights: str | Path = "default",
    device: str = "cpu",
    pictures: str | Path | None = None,
    further: Collection[str] = (),
    fold: str = "",
    effort: int = 0,
    note: Callable[[str], None] = lambda line: None,
) -> Result:
    """Measure a model on every clip of a folder, and write `results_dir/<folder's name>/`.

    model      a name of `list_models()` or of a baseline, or a weight file, which says its model
    folder     clips, each a single scene, see `find_clips`
    protocol   a name of PROTOCOLS; by default the one that ranks the models of the same task
    every      restoration: measure the first two of every so many frames; detection: one of so many. The protocol's
               name then says so
    weights    "default" or a weight file; of recognition also a folder of weight files, each of which is measured on
               the clips that were held out from it
    device     where the model runs, such as "cpu" or "cuda"
    pictures   folder for strips of frames, PROTOCOL/MODEL/CLIP.png, or of detection for one sheet, PROTOCOL/MODEL.png;
               by default none are written, since the licence of the videos may not allow publishing them
    further    figures to measure as well: "lpips", and "vmaf", which wants every frame, and an FFmpeg with libvmaf
    fold       recognition only: whose held-out clips are measured, see `data.labelled`; "": that of the weights, or the
               set's first; "all": all clips, of a set that the model has not learned from
    effort     compression only: with which a learned codec encodes, see `Codec.compress`. The protocol's name and the
               curve's then say so
    note       called with one line for each clip

    Baselines of the protocol for which the results folder has no figures on these clips are measured as well. Raises
    ValueError for an unknown model, baseline or protocol, or one that does not fit the model; RefilmError for a folder
    without clips; VideoError for a clip that cannot be measured; UsageError for VMAF where it cannot be measured;
    WeightsError as `create_model`.
    """
    found, file = named(model, weights)
    model, weights = found or model, file or weights
    chosen = _choose_protocol(model, protocol, every)
    if unknown := set(further) - set(PERCEPTUAL):
        raise ValueError(f"further figures are {' and '.join(PERCEPTUAL)}, got {', '.join(sorted(unknown))}")
    if "vmaf" in further:
        if every is not None:
            raise UsageError("VMAF looks at the motion between frames, so every frame is measured; leave out every")
        vmaf_program()  # UsageError before the work
    chosen = replace(chosen, further=tuple(further))
    if effort and (not isinstance(chosen, RateDistortion) or model in chosen.baselines):
        raise UsageError(f"only learned codecs have an effort, and {model} is none; leave out effort")
    target = Path(results_dir) / Path(folder).resolve().name
    if isinstance(chosen, Recognition):
        return _recognised(chosen, model, find_labelled(folder), target, fold, weights, device, note)
    if isinstance(chosen, Detection):
        return _detected(chosen, model, find_annotated(folder), target, weights, device, pictures, note)
    if fold:
        raise UsageError(f"{chosen.name} has no folds; leave out fold")
    clips = find_clips(Path(folder))
    if isinstance(chosen, RateDistortion):
        return _compressed(chosen.with_effort(effort), model, clips, target, weights, device, note)
    measuring = _Measuring(chosen, clips, target, note)
    for baseline in chosen.baselines:
        if baseline != model and not measuring.has(baseline):
            write_result(target, measuring.baseline(baseline))
    strips = None if pictures is None else Path(pictures)
    if model in chosen.baselines:
        result = measuring.baseline(model, strips)
    else:
        result = measuring.model(model, weights, device, strips)
    write_result(target, result)
    return result


def find_clips(folder: Path) -> list[Footage]:
    """The clips that `index.json` lists, in its order; else the test split of a set in a layout of `data/layouts.py`.

    Of a set without splits, such as a plain folder of videos, it is all clips. Raises RefilmError if there are none.
    """
    index = folder / "index.json"
    if index.exists():
        return [Footage(entry["file"], (folder / entry["file"],)) for entry in json.loads(index.read_text())]
    if parts := parts_of(folder, "test"):
        return [clip for part in parts for clip in find_clips(part)]
    return find_footage(folder, "test")


def _choose_protocol(model: str, name: str | None, every: int | None) -> Protocol:
    tasks = {baseline: p.task for p in reversed(PROTOCOLS.values()) for baseline in p.baselines}
    tasks |= {model: row.task for model, row in MODELS.items()}
    if model not in tasks:
        raise ValueError(f"no model is called {model!r}; there are: {', '.join(tasks)}")
    name = name or TASKS[tasks[model]].protocol
    if name not in PROTOCOLS and f"{tasks[model]}-{name}" in PROTOCOLS:
        name = f"{tasks[model]}-{name}"
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol is called {name!r}; there are: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    # what deblurs also interpolates, and the other way round
    fits = tasks[model] == protocol.task or (TASKS[tasks[model]].retimes and TASKS[protocol.task].retimes)
    if model not in protocol.baselines and not fits:
        raise ValueError(f"{name} asks for {protocol.task}, and {model} is for {tasks[model]}")
    return protocol if every is None else protocol.thinned(every)


def _compressed(
    protocol: RateDistortion,
    model: str,
    clips: Sequence[Footage],
    target: Path,
    weights: str | Path | None,
    device: str,
    note: Callable[[str], None],
) -> Result:
    """As `evaluate`, of a codec, which computes on the CPU. Baselines that were measured are not measured again."""
    described = device_name(torch.device("cpu"))
    sources = [clip.source for clip in clips]
    held = {name: curves for name, curves in read_curves(target).items() if list(curves) == sources}

    def blank(name: str, measured_by: RateDistortion) -> Result:
        return Result(name, measured_by.name, measured_by.description, refilm.__version__, described)

    def run(name: str, settings: Sequence[Setting]) -> None:
        def tell(clip: str, point: Point) -> None:
            note(f"{name}  {clip}  {point.setting}  {point.bpp:.4f} bits a pixel  {point.psnr_db:.2f} dB")

        held[name] = measured(protocol, settings, clips, tell)
        write_curves(target, name, held[name])

    def result(of: Result, curves: Mapping[str, Sequence[Point]]) -> Result:
        sizes = {clip: (len(curve[0].psnr_by_place), 0, 0) for clip, curve in curves.items()}
        found = {c: figures_of(curve, held[ANCHOR][c], sizes[c]) for c, curve in curves.items()}
        rates = [1000 / point.decode_fps for curve in curves.values() for point in curve]
        done = replace(of, clips=found, ms_per_frame=statistics.median(rates))
        write_result(target, done)
        return done

    for name, encoder in protocol.baselines.items():
        if name not in held or model == name:
            run(name, encoder.settings())
            found = result(replace(blank(name, protocol.with_effort(0)), is_baseline=True), held[name])
            if model == name:
                return found
    network: Any = create_model(model, weights=weights).eval()
    file, curve = weights_name(model, weights), protocol.curve_of(model)
    run(curve, protocol.of_model(network, model, file))
    parameters = sum(p.numel() for p in network.parameters())
    return result(replace(blank(model, protocol), weights=file, parameters=parameters), held[curve])


def _recognised(
    protocol: Recognition,
    model: str,
    labelled: LabelledSet,
    target: Path,
    fold: str,
    weights: str | Path | None,
    device: str,
    note: Callable[[str], None],
) -> Result:
    """As `evaluate`, of a recogniser."""
    for line in labelled.notes:
        note(line)
    files = files_of(weights)
    of_fold: dict[str, str | Path | None] = {}
    for file in files:
        learned = {} if model in protocol.baselines else learned_by(model, file)
        found = fold_to_measure(labelled, learned, fold, file)
        if found in of_fold:
            raise UsageError(f"{weights}: {of_fold[found]} and {file} have the same clips held out, fold {found}")
        of_fold[found] = file
    folds = {name: division(labelled, name) for name in of_fold}
    described = device_name(torch.device(device))
    blank = Result(model, protocol.name, protocol.description, refilm.__version__, described)
    for baseline in protocol.baselines:
        verdicts = baseline_verdicts(baseline, labelled.labels, folds)
        beside = replace(blank, model=baseline, is_baseline=True, device="-", clips=verdicts, overall=overall(verdicts))
        write_result(target, beside)
        if baseline == model:
            return beside
    stopwatch, verdicts = Stopwatch(), {}
    for name, file in of_fold.items():
        network: Any = create_model(model, weights=file)
        method = ModelRecogniser(network.to(device).eval(), torch.device(device), protocol, labelled.flips)
        for clip in folds[name].held_out:
            shown = method(clip, stopwatch)
            verdicts[clip.source] = verdict_of(shown, network.labels, clip, name)
            note(f"{model}  {clip.source}  {verdicts[clip.source].told}")
    result = replace(
        blank,
        weights=_named(model, files),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        gflop=method.gflop(next(iter(folds.values())).held_out[0]),
        ms_per_frame=stopwatch.median_ms,
        clips=verdicts,
        overall=overall(verdicts),
    )
    write_result(target, result)
    pairs = [(verdict.label, verdict.told) for verdict in verdicts.values()]
    labels = list(dict.fromkeys([*labelled.labels, *network.labels]))
    write_confusion(target / "confusion" / f"{protocol.name}-{model}", labels, confusion(labels, pairs))
    return result


def _detected(
    protocol: Detection,
    model: str,
    films: Sequence[AnnotatedFilm],
    target: Path,
    weights: str | Path | None,
    device: str,
    pictures: str | Path | None,
    note: Callable[[str], None],
) -> Result:
    """As `evaluate`, of a detector."""
    where = torch.device(device)
    network: Any = create_model(model, weights=weights)
    network.to(where).eval()
    stopwatch, measured, clips = Stopwatch(), {}, {}
    for film in films:
        frames = protocol.measure(network, where, film, stopwatch)
        figure = mean_average_precision(frames, len(network.labels))
        clips[film.footage.source] = DetectionFigures(len(frames), sum(int(f.counts.sum()) for f in frames), figure)
        measured[film.footage.source] = film, frames
        note(f"{model}  {film.footage.source}  {TASKS[protocol.task].figure.shown(figure)} %")
    result = Result(
        model,
        protocol.name,
        protocol.description,
        refilm.__version__,
        device_name(where),
        weights=weights_name(model, weights),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        ms_per_frame=stopwatch.median_ms,
        clips=clips,
        overall=detection_figures(measured, network.labels, protocol.every),
    )
    write_result(target, result)
    if pictures is not None:
        write_sheet(Path(pictures) / protocol.name / f"{model}.png", measured, network.labels)
    return result


def _named(model: str, files: Sequence[str | Path | None]) -> str | None:
    names = [weights_name(model, file) for file in files]
    return names[0] if len(names) == 1 else f"{len(names)} files, one a fold"


@dataclass(frozen=True)
class _Measuring:
    """Measures models and baselines by one protocol on one set of clips. `target` is the folder of the results."""

    protocol: Pictures
    clips: list[Footage]
    target: Path
    note: Callable[[str], None]

    def has(self, baseline: str) -> bool:
        held = self._held(baseline)
        complete = set(self.protocol.further) <= set(held.get("mean", {}))
        return "absent" in held or (complete and set(held.get("clips", ())) == {clip.source for clip in self.clips})

    def baseline(self, name: str, pictures: Path | None = None) -> Result:
        result = self._result(name, "cpu", is_baseline=True)
        try:
            method, setting = self.protocol.fitted(name, self.clips)
            return self._measured(replace(result, setting=setting), method, pictures)
        except LookupError as error:
            self.note(f"{name}: absent, {error}")
            return replace(result, absent=str(error))

    def model(self, name: str, weights: str | Path, device: str, pictures: Path | None) -> Result:
        network = create_model(name, weights=weights)
        method: Method = self.protocol.method(network.to(device).eval(), torch.device(device))
        result = self._result(name, device, is_baseline=False)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if parameters:  # the operations of a classical method are not counted by `gflop`
            result = replace(
                result,
                weights=weights_name(name, weights),
                parameters=parameters,
                gflop=self.protocol.gflop(method, self.clips[0]),
            )
        return self._measured(result, method, pictures)

    def _result(self, name: str, device: str, is_baseline: bool) -> Result:
        protocol = self.protocol
        where = device_name(torch.device(device))
        return Result(name, protocol.name, protocol.description, refilm.__version__, where, is_baseline)

    def _measured(self, result: Result, method: Method, pictures: Path | None) -> Result:
        stopwatch, figures, beside = Stopwatch(), {}, None
        if pictures is not None and self.protocol.beside is not None:
            beside = self.protocol.shown_beside(self._held(self.protocol.beside).get("setting"))
        for clip in self.clips:
            strip = None
            if pictures is not None:
                strip = Strip(pictures / result.protocol / result.model / f"{Path(clip.source).stem}.png", beside)
            figures[clip.source] = self.protocol.measure(method, clip, stopwatch, strip)
            figure = TASKS[self.protocol.task].figure
            value = figure.shown(getattr(figures[clip.source], figure.key))
            self.note(f"{result.model}  {clip.source}  {value} {figure.unit}".rstrip())
        return replace(result, ms_per_frame=stopwatch.median_ms, clips=figures)

    def _held(self, model: str) -> dict[str, Any]:
        """The entry of a model for this protocol in the results folder; {} if there is none."""
        held = {r["model"]: r["protocols"].get(self.protocol.name, {}) for r in read_results(self.target)}
        return held.get(model, {})
