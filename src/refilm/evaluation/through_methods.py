"""What `refilm eval ... --through` asks for: the damage, and the models and baselines that restore it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from refilm.data.labelled import LabelledClip
from refilm.errors import UsageError, WeightsError
from refilm.evaluation.protocols import PROTOCOLS
from refilm.evaluation.restoration import Restoration
from refilm.evaluation.restorers import Restorer
from refilm.models.defaults import default_model
from refilm.models.table import MODELS, create_model, named, weights_name
from refilm.options import joined_by_plus
from refilm.tasks import TASKS

# How clips are damaged for the models of each task: as they are when these models are ranked, but that nobody tells
# how strongly.
DAMAGES = {
    "super-resolution": "super-resolution-x4-bi",
    "denoising": "denoising-sigma25-blind",
    "deblocking": "deblocking-h264-crf37",
}
ORIGINAL = "original"


@dataclass(frozen=True)
class Method:
    """What makes the pictures that recognisers are shown of damaged clips.

    restore      None: the pictures before the damage
    weights      name of the weight file; None without weights
    parameters   number of learned parameters
    """

    restore: Restorer | None
    weights: str | None = None
    parameters: int = 0


def asked_for(through: str) -> tuple[Restoration, list[str], list[tuple[str, str]]]:
    """The damage, what restores, and the pairs. Raises UsageError for what restores nothing, or for different tasks."""
    texts: list[str] = []
    pairs: list[tuple[str, str]] = []
    for entry in (part.strip() for part in through.split(",")):
        parts = [_of_verb(part) for part in joined_by_plus(entry)]
        if len(parts) > 2:
            raise UsageError(f"a pair is two models, one for single frames and one for motion, got {entry}")
        texts += parts
        if len(parts) == 2:
            pairs.append((parts[0], parts[1]))
    texts = list(dict.fromkeys(texts))
    tasks = {_task_of(text): text for text in texts if not _is_baseline(text)}
    if len(tasks) > 1:
        told = " and ".join(f"{text} for {task}" for task, text in tasks.items())
        raise UsageError(f"clips are damaged in one way at a time, and that follows from the models: {told}")
    task = next(iter(tasks), None) or next(t for t in DAMAGES if texts[0] in _damage(t).baselines)
    learned = [text for text in texts if not _is_baseline(text)]
    if not pairs and len(learned) == 2:
        pairs = [(learned[0], learned[1])]
    return _damage(task), texts, pairs


def _damage(task: str) -> Restoration:
    protocol = PROTOCOLS[DAMAGES[task]]
    assert isinstance(protocol, Restoration)
    return protocol


def _of_verb(text: str) -> str:
    """The default model, where the command of a task is given."""
    task = next((task.name for task in TASKS.values() if task.verb == text), None)
    return text if task is None or task not in DAMAGES else default_model(task)


def _is_baseline(text: str) -> bool:
    return any(text in _damage(task).baselines for task in DAMAGES)


def _task_of(text: str) -> str:
    name, _ = named(text)
    task = None if name not in MODELS else MODELS[str(name)].task
    if task not in DAMAGES:
        raise UsageError(f"{text} restores nothing; --through takes models and weight files for {', '.join(DAMAGES)}")
    return task


def shown_name(text: str) -> str:
    """What a model is called in the table: weight files by their own names."""
    return text if text in MODELS or _is_baseline(text) else Path(text).stem


def methods_of(
    damage: Restoration, texts: Sequence[str], clips: Sequence[LabelledClip], device: str
) -> dict[str, Method]:
    """By name: the original, what a user has without models, and all that was asked for."""
    plain = next(iter(damage.baselines))
    methods: dict[str, Method] = {ORIGINAL: Method(None)}
    for text in dict.fromkeys([plain, *texts]):
        if _is_baseline(text):
            if text not in damage.baselines:
                raise UsageError(f"{text} is no baseline here; there are: {', '.join(damage.baselines)}")
            methods[text] = Method(damage.fitted(text, [clip.footage for clip in clips])[0])
            continue
        name, file = named(text)
        try:
            network: Any = create_model(str(name), weights=file).to(device).eval()
        except WeightsError as error:
            raise WeightsError(f"{text}: {error}") from None
        shown = shown_name(text)
        if shown in methods:
            raise UsageError(f"two models are called {shown}; rename one of the weight files")
        count = sum(parameter.numel() for parameter in network.parameters())
        restore = damage.method(network, torch.device(device))
        methods[shown] = Method(restore, weights_name(str(name), file), count)
    return methods
