"""Models: one file each, and the table of all of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from refilm.models.defaults import default_model

if TYPE_CHECKING:
    from refilm.models.table import MODELS, Model, create_model, list_models, tiled_models

__all__ = ["MODELS", "Model", "create_model", "default_model", "list_models", "tiled_models"]


def __getattr__(name: str) -> Any:
    """Imports the table when one of its names is first used: it loads torch, which `default_model` does not need."""
    if name not in __all__:
        raise AttributeError(f"module 'refilm.models' has no attribute {name!r}")
    return getattr(import_module("refilm.models.table"), name)
