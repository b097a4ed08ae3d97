"""Model cards: what a weight file is, and how well it does by `results/`, as Markdown for a hub or a site."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from refilm.models.defaults import results_folder
from refilm.models.table import row_of
from refilm.tasks import TASKS
from refilm.weights import Weights, load_weights, name_by_content

# the hub's names of tasks
_PIPELINES = {
    "recognition": "video-classification",
    "detection": "object-detection",
    "super-resolution": "image-to-image",
    "denoising": "image-to-image",
    "deblocking": "image-to-image",
}
_FILE_TO_FILE = 'refilm.{verb}("in.mp4", "out.mp4", model="{file}")'
_FROM_FILE = 'refilm.{verb}("in.mp4", model="{file}")'


def model_card(
    weights: str | Path, name: str = "", data: str = "", limits: str = "", licence: str = "apache-2.0"
) -> str:
    """The card of a weight file, in Markdown, with the header that the hub reads.

    name      "user/name" on the hub, if it lies there
    data      what it was trained on, in words
    limits    what it is not good for, in words
    licence   of the weights, by its identifier on the hub

    Raises WeightsError as `refilm.weights.load_weights`.
    """
    file, loaded = name_by_content(weights), load_weights(weights)
    task = row_of(loaded.model).task
    header = {"license": licence, "library_name": "refilm", "tags": ["video", task]}
    if task in _PIPELINES:
        header["pipeline_tag"] = _PIPELINES[task]
    measured = _measured(loaded.model, file)
    parameters = sum(tensor.numel() for tensor in loaded.state.values())
    sections = [
        f"# {loaded.model}\n\nWeights of `{loaded.model}` for {task}: `{file}`, {parameters:,} numbers.",
        "## Use\n\n```python\n" + _use(loaded, task, name, file) + "\n```",
        "## Figures\n\n" + _figures(measured),
        "## Training\n\n" + _training(loaded, data),
        "## Limits\n\n" + _limits(measured, limits),
        f"## Config\n\n```json\n{json.dumps(dict(loaded.config), indent=1, sort_keys=True)}\n```",
    ]
    top = "\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items())
    return f"---\n{top}\n---\n\n" + "\n\n".join(sections) + "\n"


def _use(loaded: Weights, task: str, name: str, file: str) -> str:
    lines = ["import refilm", ""]
    if name:
        lines += [f'model = refilm.from_pretrained("{name}")  # on tensors [N, C, T, H, W]']
    else:
        lines += [f'model = refilm.create_model("{file}")  # on tensors [N, C, T, H, W]']
    if task in TASKS:
        call = _FILE_TO_FILE if TASKS[task].makes == "pictures" or task == "compression" else _FROM_FILE
        lines += [call.format(verb=TASKS[task].verb, file=file) + "  # the downloaded file, by its path"]
    return "\n".join(lines)


def _measured(model: str, file: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Set, protocol and entry of every result of a model that was measured with this weight file."""
    return [
        (path.parent.name, protocol, entry)
        for path in sorted(results_folder().parent.glob(f"*/{model}.json"))
        for protocol, entry in json.loads(path.read_text()).get("protocols", {}).items()
        if entry.get("weights") == file and entry.get("mean")
    ]


def _figures(measured: list[tuple[str, str, dict[str, Any]]]) -> str:
    rows = [
        f"| {where} | `{protocol}` | {_in_words(entry['mean'])} | {_time(entry)} |"
        for where, protocol, entry in measured
    ]
    if not rows:
        return "None of the results that come with refilm were measured with these weights."
    protocols = {protocol: entry["description"] for _, protocol, entry in measured}
    notes = [f"- `{protocol}`: {words}" for protocol, words in protocols.items()]
    return "\n".join(["| set | protocol | means | time of a frame |", "|---|---|---|---|", *rows, "", *notes])


def _in_words(means: dict[str, float | None]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in means.items() if value is not None)


def _time(entry: dict[str, Any]) -> str:
    spent = entry.get("ms_per_frame")
    return "-" if spent is None else f"{spent:.0f} ms ({entry['device']})"


def _training(loaded: Weights, data: str) -> str:
    recipe = loaded.recipe
    said = [f"Recipe `{recipe['file']}`, {recipe.get('steps', '?')} steps."] if recipe.get("file") else []
    said += [f"{recipe['note']}."] if recipe.get("note") else []
    said += [data or "The data are not named in the weight file; docs/choices.md of refilm tells what is known."]
    return "\n\n".join(said)


def _limits(measured: list[tuple[str, str, dict[str, Any]]], limits: str) -> str:
    """What was said, and the clips, or the class, on which the figures are worst."""
    said = [limits] if limits else []
    for where, protocol, entry in measured:
        task = next((task for task in TASKS.values() if task.figure.key in entry["mean"]), None)
        if task is None:
            continue
        groups: dict[str, list[float]] = {}
        for clip, figures in entry["clips"].items():
            if figures.get(task.figure.key) is not None:
                groups.setdefault(figures.get("label", clip), []).append(figures[task.figure.key])
        means = {name: {task.figure.key: fmean(values)} for name, values in groups.items()}
        if len(means) > 1:
            worst = min(means, key=lambda name: task.figure.goodness(means[name]))
            value = task.figure.shown(means[worst][task.figure.key])
            said.append(f"- `{protocol}` on {where}: worst on {worst}, {task.figure.title} {value}")
    return "\n".join(said or ["Not measured."])
