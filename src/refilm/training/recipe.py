"""Reading recipes: TOML files of settings, with overrides from the command line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from refilm.errors import RefilmError
from refilm.models.table import MODELS, PARTS, row_of
from refilm.training.config import TrainConfig
from refilm.training.trainers import trainer_of
from refilm.weights import SHIPPED


def restore_config(plain: Mapping[str, Any]) -> TrainConfig:
    """The inverse of `TrainConfig.plain`."""
    kind = trainer_of(plain["model"]).config
    values = dict(plain)
    for field in fields(kind):
        if field.name in values and isinstance(field.default, tuple):  # JSON and TOML have lists
            entry = _entry(field)
            values[field.name] = tuple(v if entry is None else entry(**v) for v in values[field.name])
    return kind(**values)


def read_recipe(path: str | Path, settings: Sequence[str] = (), data: str | Path | None = None) -> TrainConfig:
    """Read the config from a recipe.

    settings  overrides, "key=value" each, with the value in TOML syntax; a bare word is taken as a string.
              "config.skip=blend" sets a key of a table
    data      folder of clips instead of those that the recipe names

    Raises ValueError for an unknown key, naming the nearest known one, for an unknown model and for values out of
    range; RefilmError if a data set or the weight file to start from does not exist.
    """
    path = Path(path)
    values = tomllib.loads(path.read_text())
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"a setting must be key=value, got {setting!r}")
        table = values
        *tables, name = key.strip().split(".")
        for step in tables:
            table = table.setdefault(step, {})
        table[name] = _toml_value(text)
    model = values.setdefault("model", TrainConfig.model)
    if model not in MODELS | PARTS:
        raise ValueError(f"{path}: no model is called {model!r}; there are: {', '.join(MODELS | PARTS)}")
    _check_keys(values, trainer_of(model).config, str(path))
    if data is not None:
        values |= {"train": [], "val": "", "data": str(Path(data).absolute())}
    values["train"] = [_find(folder, path.parent) for folder in values.get("train", ())]
    for key in ("photographs", "films"):
        if values.get(key):
            values[key] = [_find(folder, path.parent) for folder in values[key]]
    for key in ("val", "data", "cutouts", "backbone", "annotations"):
        if values.get(key):
            values[key] = _find(values[key], path.parent)
    if values.get("start"):
        values["start"] = _start(values["start"], model, path.parent)
    return restore_config(values)


def _start(name: str, model: str, folder: Path) -> str:
    """The weight file to start from: one that ships by its name, or as "default", else as by `_find`."""
    if name == "default":
        name = row_of(model).weights or name
        if name == "default":
            raise ValueError(f"no weights ship for {model} to start from; give the file of others as start")
    shipped = SHIPPED / name
    return str(shipped) if shipped.parent == SHIPPED and shipped.exists() else _find(name, folder)


def _check_keys(values: Mapping[str, Any], kind: type, where: str) -> None:
    known = [f.name for f in fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            raise ValueError(f"{where}: unknown key {key!r}; did you mean {(near or known)[0]!r}?")
    for field in fields(kind):
        if (entry := _entry(field)) is not None:
            for table in values.get(field.name, ()):
                _check_keys(table, entry, f"{where}, {field.name}")


def _entry(field: Field[Any]) -> type | None:
    """The dataclass of which a field holds several, such as Motion; None where it holds plain values."""
    first = field.default[0] if isinstance(field.default, tuple) and field.default else None
    return type(first) if is_dataclass(first) else None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _find(name: str, folder: Path) -> str:
    """The absolute path of a file or folder, looked up in the recipe's folder, those above it, and the current folder.

    So a recipe works from any checkout and any current folder. Raises RefilmError if it is not found.
    """
    for base in (folder.resolve(), *folder.resolve().parents, Path.cwd()):
        if (base / name).exists():
            return str((base / name).resolve())
    if Path(name).is_absolute():
        raise RefilmError(f"{name}: no such file or folder")
    raise RefilmError(
        f"{name} is neither in {folder.resolve()} nor in a folder above it; clips elsewhere are given by --data FOLDER"
    )
