"""Training: recipes, the tasks they describe, and the run itself."""

from refilm.training.config import TrainConfig, read_recipe
from refilm.training.train import export, train

__all__ = ["TrainConfig", "export", "read_recipe", "train"]
