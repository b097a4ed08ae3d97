"""Training: recipes, the tasks they describe, and the run itself."""

from refilm.training.ablation import ablate
from refilm.training.config import TrainConfig, read_recipe
from refilm.training.train import export, measure, train

__all__ = ["TrainConfig", "ablate", "export", "measure", "read_recipe", "train"]
