"""The folder of the weight files that ship, and functions to read and write weight files."""

from refilm.weights.files import SHIPPED, Weights, as_stored, load_weights, name_by_content, save_weights

__all__ = ["SHIPPED", "Weights", "as_stored", "load_weights", "name_by_content", "save_weights"]
