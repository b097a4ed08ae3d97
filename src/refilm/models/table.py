"""The table of all models, and `create_model`, which makes one from its name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from torch import nn

from refilm.errors import WeightsError
from refilm.layers.ls3d import sampling_parameters
from refilm.models.dncnn import DnCNN, DnCNNConfig
from refilm.models.flow_blend import FlowBlend
from refilm.models.vdn_ls3d import VDNLS3D, VDNLS3DConfig
from refilm.models.vi_ls3d import VILS3D, VILS3DConfig
from refilm.models.vi_ls3d_flow import VILS3DFlow, VILS3DFlowConfig
from refilm.models.vsr_ls3d import VSRLS3D, VSRLS3DConfig
from refilm.weights import SHIPPED, Weights, load_weights


@dataclass(frozen=True)
class Model:
    """One row of the table.

    task     a key of `refilm.tasks.TASKS`
    build    the model's class, called with the config; without arguments for a classical method
    config   the config of the model of this name; None for a classical method
    weights  name of the file in `refilm/weights` that ships; None if none does
    learned  whether the model has weights; False for a classical method
    """

    task: str
    build: Callable[..., nn.Module]
    config: Any = None
    weights: str | None = None
    learned: bool = True


VDN_SMALL = VDNLS3DConfig(
    channels=48,
    blocks=6,
    ls3d_blocks=(1,),
    window=5,
    shuffle=2,
    funnel=1,
    align=True,
    max_offset=4,
    temporal_filter=True,
)

MODELS = {
    "flow-blend": Model("interpolation", FlowBlend, learned=False),
    "vi-ls3d": Model("interpolation", VILS3D, VILS3DConfig()),
    "vi-ls3d-small": Model(
        "interpolation",
        VILS3D,
        VILS3DConfig(channels=32, ls3d_blocks=(5, 6), matching=True, own_quarters=False),
        weights="vi-ls3d-small-0627fcbd.safetensors",
    ),
    "vi-ls3d-flow": Model(
        "interpolation", VILS3DFlow, VILS3DFlowConfig(strength=0.5), weights="vi-ls3d-flow-1d25b09c.safetensors"
    ),
    "vsr-ls3d": Model("super-resolution", VSRLS3D, VSRLS3DConfig()),
    "vsr-ls3d-p3d": Model("super-resolution", VSRLS3D, VSRLS3DConfig(p3d=True)),
    "vsr-ls3d-small": Model(
        "super-resolution",
        VSRLS3D,
        VSRLS3DConfig(
            channels=48, blocks=9, ls3d_blocks=(1,), window=5, funnel=1, align=True, max_offset=4, temporal_filter=True
        ),
        weights="vsr-ls3d-small-8e75665d.safetensors",
    ),
    "vdn-ls3d": Model("denoising", VDNLS3D, VDNLS3DConfig()),
    "vdn-ls3d-small": Model(
        "denoising",
        VDNLS3D,
        VDN_SMALL,
        weights="vdn-ls3d-small-d311adf8.safetensors",
    ),
    "vdb-ls3d-small": Model(
        "deblocking",
        VDNLS3D,
        replace(VDN_SMALL, task="deblocking"),
        weights="vdb-ls3d-small-c5689e9c.safetensors",
    ),
    "dncnn-denoise-small": Model("denoising", DnCNN, DnCNNConfig(task="denoising", features=48, depth=22, shuffle=2)),
    "dncnn": Model("deblocking", DnCNN, DnCNNConfig()),
    "dncnn-off2": Model("deblocking", DnCNN, DnCNNConfig(frames=2)),
    "dncnn-off3": Model("deblocking", DnCNN, DnCNNConfig(frames=3)),
    "dncnn-small": Model("deblocking", DnCNN, DnCNNConfig(features=40, depth=10, shuffle=2)),
    "dncnn-off3-small": Model("deblocking", DnCNN, DnCNNConfig(features=40, depth=10, frames=3, shuffle=2)),
}


def list_models(pattern: str = "*") -> list[str]:
    """The names of models that match a shell pattern such as "*ls3d*", sorted."""
    return sorted(name for name in MODELS if fnmatch(name, pattern))


def tiled_models(task: str | None) -> list[str]:
    """Names of the models for a task that can run as they ship, and in tiles because their reach is finite."""
    ready = [name for name, row in MODELS.items() if row.task == task and (row.weights or not row.learned)]
    return [name for name in ready if create_model(name).reach is not None]


def create_model(name: str, weights: str | Path | None = "default", **overrides: Any) -> nn.Module:
    """Make a model from its name and load its weights.

    name       one of `list_models()`
    weights    "default": the file that ships; None: random initialisation; or the path of a weight file
    overrides  fields of the model's config, such as `ls3d_blocks=()`

    The config in a weight file takes precedence over the table's, and `overrides` over both. The model is in evaluation
    mode if weights were loaded, else in training mode. Raises ValueError for an unknown name or field, and for weights
    or overrides of a classical method; WeightsError if the weights are missing, damaged or belong to another model.
    """
    row = _row(name)
    if not row.learned:
        if overrides or weights not in ("default", None):
            raise ValueError(f"{name} has neither weights nor config")
        return row.build()
    if weights is None:
        return row.build(_configure(name, row.config, overrides))
    if weights == "default":
        if row.weights is None:
            raise WeightsError(
                f"no weights ship for {name}; train some, pass weights=PATH, or weights=None for a random start"
            )
        weights = SHIPPED / row.weights
    loaded = load_weights(weights)
    of_file = _row(loaded.model)
    if (of_file.build, of_file.task) != (row.build, row.task):
        raise WeightsError(f"{weights}: holds {loaded.model}, not {name}")
    model = row.build(_configure(name, replace(row.config, **loaded.config), overrides))
    fill(model, loaded)
    return model.eval()


def fill(model: nn.Module, weights: Weights, strict: bool = True) -> None:
    """Copy weights into a model.

    strict   whether the file must have all parameters of the model. If not, the predictors of offsets and importances
             in LS3D-Conv layers may be missing and keep their initialisation, so that the weights of a network with
             plain convolutions can be loaded

    Raises WeightsError if other names or shapes differ.
    """
    state = dict(weights.state)
    if not strict:
        own = model.state_dict()
        state = {name: own[name] for name in sampling_parameters(model)} | state
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"weights of {weights.model} do not fit the model: {error}") from None


def _row(name: str) -> Model:
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no model is called {name!r}{hint} There are: {', '.join(list_models())}")
    return MODELS[name]


def _configure(name: str, config: Any, overrides: dict[str, Any]) -> Any:
    unknown = sorted(set(overrides) - set(vars(config)))
    if unknown:
        raise ValueError(f"{name} has no config field {unknown[0]!r}; there are: {', '.join(vars(config))}")
    config = replace(config, **overrides)
    task = MODELS[name].task
    if getattr(config, "task", task) != task:
        raise ValueError(f"{name} is for {task}, and its config cannot name {config.task}; take a model for that")
    return config
