"""Weight files of refilm from the checkpoints of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from refilm.errors import UsageError, WeightsError
from refilm.models.table import MODELS, create_model
from refilm.weights import Weights, save_weights
from refilm.weights.foreign import read_foreign


@dataclass(frozen=True)
class Converted:
    """A weight file that was made of a checkpoint.

    path         of the file
    taken        parameters that the checkpoint gave
    started      parameters that have a random start, such as those of OFF
    classifier   whether the classifier is the checkpoint's
    """

    path: Path
    taken: int
    started: int
    classifier: bool


def convert(source: str | Path, model: str, folder: str | Path, labels: Sequence[str] = ()) -> Converted:
    """Write a weight file of `model`, whose backbone is that of a checkpoint; what it lacks has a random start.

    source   a checkpoint in one of the layouts of `refilm.weights.foreign`
    folder   where the file is written, named after its content
    labels   names of the classes, if the model's own are not meant

    The classifier is taken if it has as many classes. Raises UsageError if the model has no backbone; WeightsError if
    the checkpoint cannot be read, or is of another backbone.
    """
    if model not in MODELS or MODELS[model].task != "recognition":
        known = ", ".join(name for name, row in MODELS.items() if row.task == "recognition")
        raise UsageError(f"{model} is no model with a backbone; there are: {known}")
    foreign = read_foreign(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = create_model(model, weights=None, **({"labels": tuple(labels)} if labels else {}))
    start = {name: parameter.clone() for name, parameter in made.named_parameters()}
    try:
        made.start_from(foreign.backbone)  # type: ignore[operator]
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{source}: does not fit the backbone of {model}: {reason[:300]}") from None
    takes_classifier = foreign.classifier is not None and _fill_classifier(made, *foreign.classifier)
    sizes = {name: parameter.numel() for name, parameter in made.named_parameters()}
    started = sum(size for name, size in sizes.items() if torch.equal(made.get_parameter(name), start[name]))
    recipe = {"file": "", "steps": 0, "note": f"converted from {Path(source).name}"}
    path = save_weights(Weights(model, asdict(made.config), made.state_dict(), recipe), folder)  # type: ignore[call-overload]
    return Converted(path, sum(sizes.values()) - started, started, takes_classifier)


@torch.no_grad()
def _fill_classifier(model: nn.Module, weight: Tensor, bias: Tensor) -> bool:
    """Copy a classifier into those of the model that have its shape; whether there is one."""
    same = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.weight.shape == weight.shape]
    for layer in same:
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return bool(same)
