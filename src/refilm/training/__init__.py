"""Training a model from a recipe.

`train` makes a checkpoint, `measure` evaluates it on the validation set, `export` turns it into a weight file, and
`ablate` trains and compares several variants.
"""

from refilm.training.ablation import ablate
from refilm.training.config import TrainConfig
from refilm.training.recipe import read_recipe
from refilm.training.train import export, measure, train

__all__ = ["TrainConfig", "ablate", "export", "measure", "read_recipe", "train"]
