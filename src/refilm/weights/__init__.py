"""The weight files that ship, and their loader."""

from refilm.weights.files import SHIPPED, Weights, load_weights, save_weights

__all__ = ["SHIPPED", "Weights", "load_weights", "save_weights"]
