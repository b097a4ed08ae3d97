"""Training: recipes, the problems they describe, and the run itself."""

from refilm.training.ablation import ablate
from refilm.training.config import TrainConfig
from refilm.training.recipe import read_recipe
from refilm.training.train import export, measure, train

__all__ = ["TrainConfig", "ablate", "export", "measure", "read_recipe", "train"]
