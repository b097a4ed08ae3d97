"""Weight files: safetensors files that also hold config, recipe and figures, and are named after their checksum.

A file may be renamed: what it is called by reports and in the identity of a job follows from its content. Pickled files
are refused, because unpickling can run code. A safetensors file holds numbers and strings only.
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
_ELSEWHERE = re.compile(r"(\w+:/|hf:).+|[\w-][\w.-]*/[\w.-]+(?<!\.safetensors)")


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

    Whole numbers, such as the batches that a batch norm has seen, are written as they are.

    The same weights with the same figures give the same bytes, and so the same name. Raises WeightsError if a value is
    not finite in half precision.
    """
    state = {name: _narrowed(tensor.detach().cpu()).contiguous() for name, tensor in weights.state.items()}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{weights.model}: {name} is not finite in half precision; the training has diverged")
    parts = {"config": weights.config, "recipe": weights.recipe, "metrics": weights.metrics}
    metadata = {"model": weights.model} | {key: json.dumps(value, sort_keys=True) for key, value in parts.items()}
    content = _in_order(save(state, metadata))
    path = Path(folder) / _name(weights.model, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_bytes(content)
    partial.replace(path)
    return path


def as_stored(tensor: Tensor) -> Tensor:
    """A tensor with the values that it will have when it is read from a weight file."""
    return _narrowed(tensor).to(tensor.dtype)


def _narrowed(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def load_weights(path: str | Path) -> Weights:
    """Read a weight file. Tensors are converted to float32.

    path   of a file of any name, or the name alone of one that ships. If the name ends in a checksum, as `save_weights`
           names files, the content must have it

    Raises WeightsError if the file is missing, is not a weight file of refilm, or does not match the checksum.
    """
    path, _ = _read(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).to(torch.float32) for name in file.keys()}  # noqa: SIM118
        config, recipe, metrics = (json.loads(metadata[key]) for key in ("config", "recipe", "metrics"))
        return Weights(metadata["model"], config, state, recipe, metrics)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: not a weight file of refilm ({error})") from None
    except KeyError as error:
        raise WeightsError(
            f"{path}: not a weight file of refilm, which says its model and config in its metadata (missing: {error}); "
            "weights of other programs are not read, only what `refilm train --export` writes"
        ) from None


def name_by_content(path: str | Path) -> str:
    """The name that `save_weights` would give a weight file, which says its model and checksum, however it is called.

    Raises WeightsError as `load_weights`.
    """
    path, content = _read(path)
    try:
        return _name(_header(content)["__metadata__"]["model"], content)
    except (ValueError, KeyError):
        raise WeightsError(f"{path}: not a weight file of refilm") from None


def located(path: str | Path) -> Path:
    """The path of a weight file, or of the one that ships where a name alone is given and no such file is here."""
    path = Path(path)
    is_shipped = path.name == str(path) and not path.exists() and (SHIPPED / path).exists()
    return SHIPPED / path if is_shipped else path


def _read(path: str | Path) -> tuple[Path, bytes]:
    """Where the file is, and its content, checked against the checksum if its name has one."""
    path = located(path)
    if path.suffix in (".pth", ".pt", ".ckpt", ".pkl"):
        raise WeightsError(f"{path}: pickled weights can run code and are not read; give a .safetensors file")
    named = _NAMED.fullmatch(path.name)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"{path}: no such weight file{_nearby(path, named)}") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read as a weight file ({error.strerror})") from None
    digest = hashlib.sha256(content).hexdigest()[:8]
    if named is not None and digest != named["digest"]:
        raise WeightsError(
            f"{path}: damaged or altered, its SHA-256 begins with {digest}; fetch the file again, or if you have named "
            "it so, give it a name without 8 hex digits at the end"
        )
    return path, content


def _name(model: str, content: bytes) -> str:
    return f"{model}-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"


def _header(content: bytes) -> dict[str, Any]:
    """The header of a safetensors file: an entry a tensor, and `__metadata__`. Raises ValueError if there is none."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    return header


def _in_order(content: bytes) -> bytes:
    """The same safetensors file with the metadata sorted, which the library writes in a random order."""
    begin = 8 + int.from_bytes(content[:8], "little")
    header = _header(content)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[begin:]


def _nearby(path: Path, named: re.Match[str] | None) -> str:
    """For an error message about a missing file: the files of the same model beside it, or that hubs are not known."""
    if named is not None and (found := sorted(p.name for p in path.parent.glob(f"{named['model']}-*.safetensors"))):
        return f"; the folder has {', '.join(found)}"
    if _ELSEWHERE.fullmatch(str(path)):
        return (
            "; if that is a name on a hub or an address: refilm loads nothing from the network yet. Download the "
            ".safetensors file that refilm has written, and give its path"
        )
    return ""
