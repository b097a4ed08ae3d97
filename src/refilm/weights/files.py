"""Weight files: safetensors files that also hold config, recipe and figures, and are named after their checksum.

Pickled files are refused, because unpickling can run code. A safetensors file holds numbers and strings only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from refilm.errors import WeightsError

SHIPPED = Path(__file__).parent
_NAMED = re.compile(r"(?P<model>.+)-(?P<digest>[0-9a-f]{8})\.safetensors")


@dataclass(frozen=True)
class Weights:
    """The content of a weight file.

    model    name in `refilm.models.MODELS`
    config   fields of the model's config
    state    parameter name -> tensor, float32
    recipe   name of the recipe ("file"), number of training steps ("steps"), and a note ("note")
    metrics  validation figures, see `refilm.training.measure`
    """

    model: str
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


def save_weights(weights: Weights, folder: str | Path) -> Path:
    """Write `<model>-<first 8 hex digits of its SHA-256>.safetensors` in half precision, and return its path.

    Raises WeightsError if a value is not finite in half precision.
    """
    state = {name: tensor.detach().cpu().half().contiguous() for name, tensor in weights.state.items()}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{weights.model}: {name} is not finite in half precision; the training has diverged")
    parts = {"config": weights.config, "recipe": weights.recipe, "metrics": weights.metrics}
    metadata = {"model": weights.model} | {key: json.dumps(value, sort_keys=True) for key, value in parts.items()}
    content = save(state, metadata)
    path = Path(folder) / f"{weights.model}-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def load_weights(path: str | Path) -> Weights:
    """Read a weight file, and check its content against the checksum in its name. Tensors are converted to float32.

    Raises WeightsError if the file is missing, is not a weight file of refilm, or does not match the checksum.
    """
    path = Path(path)
    if path.suffix in (".pth", ".pt", ".ckpt", ".pkl"):
        raise WeightsError(f"{path}: pickled weights can run code and are not read; give a .safetensors file")
    named = _NAMED.fullmatch(path.name)
    if named is None:
        raise WeightsError(
            f"{path}: the name must end in 8 hex digits of the content's SHA-256, as in model-1a2b3c4d.safetensors"
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weight file{_nearby(path, named['model'])}") from None
    digest = hashlib.sha256(content).hexdigest()[:8]
    if digest != named["digest"]:
        raise WeightsError(f"{path}: damaged or altered, its SHA-256 begins with {digest}; fetch the file again")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).to(torch.float32) for name in file.keys()}  # noqa: SIM118
        config, recipe, metrics = (json.loads(metadata[key]) for key in ("config", "recipe", "metrics"))
        return Weights(metadata["model"], config, state, recipe, metrics)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: not a weight file of refilm ({error})") from None


def _nearby(path: Path, model: str) -> str:
    """For an error message: the weight files of the same model in the same folder; "" if there are none."""
    found = sorted(other.name for other in path.parent.glob(f"{model}-*.safetensors"))
    return f"; the folder has {', '.join(found)}" if found else ""
