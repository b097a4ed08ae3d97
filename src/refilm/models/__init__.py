"""Models: one file each, and the table of all of them."""

from refilm.models.defaults import default_model
from refilm.models.table import MODELS, Model, create_model, list_models, tiled_models

__all__ = ["MODELS", "Model", "create_model", "default_model", "list_models", "tiled_models"]
