"""The table of all models, and `create_model`, which makes one from its name.

The table itself needs no torch, so that `refilm models` and errors come at once: a row's file is imported when its
model is made.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refilm.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from torch import nn

    from refilm.weights import Weights


@dataclass(frozen=True)
class Model:
    """One row of the table.

    task     a key of `refilm.tasks.TASKS`
    parts    imports the model's file and gives two things: the model's class, called with the config; and the config of
             the model of this name, or None for a class without config, which is called without arguments
    weights  name of the file in `refilm/weights` that ships; None if none does
    learned  whether the model has weights; False for a classical method
    """

    task: str
    parts: Callable[[], tuple[Callable[..., nn.Module], Any]]
    weights: str | None = None
    learned: bool = True

    @property
    def runs_as_shipped(self) -> bool:
        """Whether its weights ship, or it needs none."""
        return self.weights is not None or not self.learned


# One function for each class, with the fields in which a row's config differs from the defaults.


def _flow_blend() -> tuple[type[nn.Module], Any]:
    from refilm.models.flow_blend import FlowBlend, FlowBlendConfig

    return FlowBlend, FlowBlendConfig()


def _vi_ls3d(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.vi_ls3d import VILS3D, VILS3DConfig

    return VILS3D, VILS3DConfig(**fields)


def _vi_ls3d_flow(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.vi_ls3d_flow import VILS3DFlow, VILS3DFlowConfig

    return VILS3DFlow, VILS3DFlowConfig(**fields)


def _memc_net(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.memc_net import MEMCNet, MEMCNetConfig

    return MEMCNet, MEMCNetConfig(**fields)


def _dain(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.dain import DAIN, DAINConfig

    return DAIN, DAINConfig(**fields)


def _bin(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.bin import BIN, BINConfig

    return BIN, BINConfig(**fields)


def _vsr_ls3d(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.vsr_ls3d import VSRLS3D, VSRLS3DConfig

    return VSRLS3D, VSRLS3DConfig(**fields)


def _vdsr(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.vdsr import VDSR, VDSRConfig

    return VDSR, VDSRConfig(**fields)


def _esrgan(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.esrgan import ESRGAN, ESRGANConfig

    return ESRGAN, ESRGANConfig(**fields)


def _vsr_duf(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.vsr_duf import VSRDUF, VSRDUFConfig

    return VSRDUF, VSRDUFConfig(**fields)


def _vdn_ls3d(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.vdn_ls3d import VDNLS3D, VDNLS3DConfig

    return VDNLS3D, VDNLS3DConfig(**fields)


def _dncnn(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.dncnn import DnCNN, DnCNNConfig

    return DnCNN, DnCNNConfig(**fields)


def _tsn(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.tsn import TSN, TSNConfig

    return TSN, TSNConfig(**fields)


def _tsn_off(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.tsn_off import TSNOFF, TSNOFFConfig

    return TSNOFF, TSNOFFConfig(**fields)


def _i3d(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.i3d import I3D, I3DConfig

    return I3D, I3DConfig(**fields)


def _rfcn(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.rfcn import RFCN, RFCNConfig

    return RFCN, RFCNConfig(**fields)


def _pwc_net(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.pwc_net import PWCNet, PWCNetConfig

    return PWCNet, PWCNetConfig(**fields)


def _dvc(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.dvc import DVC, DVCConfig

    return DVC, DVCConfig(**fields)


def _hyperprior(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.hyperprior import ScaleHyperprior, ScaleHyperpriorConfig

    return ScaleHyperprior, ScaleHyperpriorConfig(**fields)


def _geodesic(**fields: Any) -> tuple[type[nn.Module], Any]:
    from refilm.models.geodesic import Geodesic, GeodesicConfig

    return Geodesic, GeodesicConfig(**fields)


_vdn_small = partial(
    _vdn_ls3d,
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

# 8 frames of a clip of Kinetics-400, as TSM, MEAST and OFF on TSM see it
_kinetics: dict[str, Any] = {
    "labels": tuple(f"class {number}" for number in range(400)),
    "segments": 8,
    "dropout": 0.5,
    "partial_bn": False,
    "seconds": 10.0,
}
_off_r50: dict[str, Any] = {"levels": (("res3",), ("res4",), ("res5",))}

# R-FCN on MobileNetV2, for a CPU
_rfcn_small = partial(
    _rfcn,
    backbone="mobilenet-v2",
    last="17",
    channels=256,
    sizes=(24.0, 48.0, 96.0, 192.0),
    proposals=128,
    reduced=48,
    width=96,
    embedding=128,
    side=256,
)

_GESTURES = ("caret", "circle", "cross", "down", "left", "none", "right", "square", "star", "tick", "up")
_CAMERA = ("static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "roll")

# OFF from early maps of MobileNetV2, between two neighbouring frames of each snippet, for a CPU
_off_small = partial(
    _tsn_off,
    backbone="mobilenet-v2",
    levels=(("3",), ("6",)),
    reduced=24,
    kernels=(3, 3),
    widths=(16, 32),
    blocks=(1, 1),
    segments=8,
    frames=2,
    dropout=0.5,
    height=96,
    width=128,
    rate=15,
    seconds=2.0,
)
# what is told by motion alone; see docs/choices.md#recognition
_motion_small = partial(_off_small, appearance=False, flow_grid=6)

# DVC for a CPU: motion by DIS, coded at half the size, and compensation on folded frames
_dvc_small = partial(
    _dvc,
    channels=48,
    latents=64,
    motion="dis",
    motion_channels=48,
    motion_latents=48,
    motion_layers="gdn",
    motion_scale=2,
    motion_differences=2,
    compensation=32,
    shuffle=2,
    sees_motion=True,
)

# trained on shutters of any length, and on long ones
_bin_small = partial(
    _bin,
    scales=3,
    features=28,
    blocks=4,
    convolutions=3,
    growth=14,
    shuffle=4,
    kernel=3,
    decoder=6,
    residual="estimate",
    motion="dis",
)

# trained on films reduced bicubically, and on films that are small in other ways, and compressed
_vsr_small = partial(
    _vsr_ls3d,
    channels=48,
    blocks=9,
    ls3d_blocks=(1,),
    window=5,
    funnel=1,
    align=True,
    max_offset=4,
    temporal_filter=True,
)

# SoSR and ToSR are these networks, trained by losses of their own
_esrgan_small = partial(_esrgan, features=32, growth=16, blocks=4)
_vsr_duf_small = partial(_vsr_duf, features=32, growth=16, width=128)

MODELS = {
    "flow-blend": Model("interpolation", _flow_blend, learned=False),
    "vi-ls3d": Model("interpolation", _vi_ls3d),
    "vi-ls3d-small": Model(
        "interpolation",
        partial(_vi_ls3d, channels=32, ls3d_blocks=(5, 6), matching=True, own_quarters=False),
        weights="vi-ls3d-small-0627fcbd.safetensors",
    ),
    "vi-ls3d-flow": Model(
        "interpolation", partial(_vi_ls3d_flow, strength=0.5), weights="vi-ls3d-flow-1d25b09c.safetensors"
    ),
    "memc-net": Model("interpolation", partial(_memc_net, context=0, channels=64, blocks=3)),
    "memc-net-star": Model("interpolation", _memc_net),
    "memc-net-small": Model(
        "interpolation",
        partial(
            _memc_net,
            stem=24,
            widths=(24, 32, 48),
            context=12,
            context_side=3,
            channels=32,
            blocks=3,
            shuffle=2,
            aligned=True,
            plain=True,
        ),
    ),
    "dain": Model("interpolation", _dain),
    "dain-small": Model(
        "interpolation",
        partial(
            _dain,
            widths=(24, 32, 48),
            depth_widths=(24, 32),
            context=12,
            channels=32,
            side=3,
            shuffle=2,
            aligned=True,
            plain=True,
        ),
    ),
    "bin": Model("deblurring", _bin),
    "bin-small": Model("deblurring", _bin_small, weights="bin-small-999cc7f8.safetensors"),
    "bin-small-long": Model(
        "deblurring", partial(_bin_small, strength=0.8), weights="bin-small-long-7cdf3c71.safetensors"
    ),
    "vsr-ls3d": Model("super-resolution", _vsr_ls3d),
    "vsr-ls3d-p3d": Model("super-resolution", partial(_vsr_ls3d, p3d=True)),
    "vsr-ls3d-small": Model("super-resolution", _vsr_small, weights="vsr-ls3d-small-112e08e5.safetensors"),
    "vsr-real-small": Model("super-resolution", _vsr_small, weights="vsr-real-small-09964b23.safetensors"),
    "vdsr": Model("super-resolution", _vdsr),
    "vdsr-small": Model("super-resolution", partial(_vdsr, features=32, depth=10)),
    "esrgan": Model("super-resolution", _esrgan),
    "esrgan-small": Model("super-resolution", _esrgan_small),
    "vsr-duf-16": Model("super-resolution", _vsr_duf),
    "vsr-duf-52": Model("super-resolution", partial(_vsr_duf, growth=16, blocks=21)),
    "vsr-duf-small": Model("super-resolution", _vsr_duf_small),
    "sosr-small": Model("super-resolution", _esrgan_small, weights="sosr-small-01ebe37f.safetensors"),
    "tosr-small": Model("super-resolution", _vsr_duf_small, weights="tosr-small-46a63703.safetensors"),
    "vdn-ls3d": Model("denoising", _vdn_ls3d),
    "vdn-ls3d-small": Model(
        "denoising",
        _vdn_small,
        weights="vdn-ls3d-small-1e0af806.safetensors",
    ),
    "vdb-ls3d-small": Model(
        "deblocking",
        partial(_vdn_small, task="deblocking"),
        weights="vdb-ls3d-small-6aca342a.safetensors",
    ),
    "dncnn-denoise-small": Model("denoising", partial(_dncnn, task="denoising", features=48, depth=22, shuffle=2)),
    "dncnn": Model("deblocking", _dncnn),
    "dncnn-off2": Model("deblocking", partial(_dncnn, frames=2)),
    "dncnn-off3": Model("deblocking", partial(_dncnn, frames=3)),
    "dncnn-small": Model("deblocking", partial(_dncnn, features=40, depth=10, shuffle=2)),
    "dncnn-off3-small": Model("deblocking", partial(_dncnn, features=40, depth=10, frames=3, shuffle=2)),
    "tsn-bninception": Model("recognition", _tsn),
    "tsn-bninception-off": Model("recognition", _tsn_off),
    "tsm-r50": Model("recognition", partial(_tsn, **_kinetics, backbone="resnet-50-tsm")),
    "tsm-r50-off": Model("recognition", partial(_tsn_off, **_kinetics, **_off_r50, backbone="resnet-50-tsm")),
    "meast-r50": Model("recognition", partial(_tsn, **_kinetics, backbone="resnet-50-meast")),
    "i3d-r50": Model("recognition", _i3d),
    "i3d-r50-ls3d": Model("recognition", partial(_i3d, ls3d=True)),
    "i3d-r50-nl": Model("recognition", partial(_i3d, non_local=True)),
    "i3d-r50-nl-ls3d": Model("recognition", partial(_i3d, non_local=True, ls3d=True)),
    "tsn-gesture": Model(
        "recognition",
        partial(
            _tsn, labels=_GESTURES, backbone="mobilenet-v2", segments=12, dropout=0.5, height=96, width=128, rate=15
        ),
    ),
    "tsn-flow-gesture": Model(
        "recognition",
        partial(
            _tsn,
            labels=_GESTURES,
            backbone="mobilenet-v2",
            streams=("flow",),
            segments=10,
            consensus="ordered",
            temporal_dropout=0.5,
            height=96,
            width=128,
            rate=15,
        ),
    ),
    "tsn-off-gesture": Model(
        "recognition",
        partial(_motion_small, labels=_GESTURES, segments=10, consensus="ordered", seconds=4.0),
        weights="tsn-off-gesture-723b3fea.safetensors",
    ),
    "tsn-off-camera": Model(
        "recognition",
        partial(_motion_small, labels=_CAMERA, segments=4, rate=8, classifies_flow=True),
        weights="tsn-off-camera-740c46f5.safetensors",
    ),
    "tsn-off-fight": Model("recognition", partial(_off_small, labels=("fight", "noFight"))),
    "interaction": Model(
        "recognition",
        partial(_off_small, labels=("handshake", "hug", "kick", "point", "punch", "push"), consensus="ordered"),
        weights="interaction-4e69fb74.safetensors",
    ),
    "rfcn-r101": Model("detection", _rfcn),
    "rfcn-r101-off": Model("detection", partial(_rfcn, temporal="off")),
    "rfcn-r101-off-ms": Model("detection", partial(_rfcn, temporal="off", finer=("res3",))),
    "fgfa-r101": Model("detection", partial(_rfcn, temporal="fgfa")),
    "rfcn-mobilenet": Model("detection", _rfcn_small, weights="rfcn-mobilenet-8385911b.safetensors"),
    "rfcn-mobilenet-off": Model("detection", partial(_rfcn_small, temporal="off")),
    "rfcn-mobilenet-off-ms": Model(
        "detection",
        partial(_rfcn_small, temporal="off", finer=("6",)),
        weights="rfcn-mobilenet-off-ms-8347b05f.safetensors",
    ),
    "fgfa-mobilenet": Model("detection", partial(_rfcn_small, temporal="fgfa")),
    "dvc": Model("compression", _dvc),
    "dvc-epa": Model("compression", _dvc),
    "dvc-small": Model("compression", _dvc_small),
    "dvc-epa-small": Model("compression", _dvc_small, weights="dvc-epa-small-29a9ab0c.safetensors"),
}

# Networks that models use and that have no task of their own, by the kind of part as their `task`. They are trained by
# recipes like models, and `create_model` makes them.
PARTS = {
    "pwc-small": Model("motion", _pwc_net, weights="pwc-small-d0374544.safetensors"),
    "hyperprior": Model("picture compression", _hyperprior),
    "hyperprior-small": Model("picture compression", partial(_hyperprior, channels=64, latents=96)),
    # spaces for `refilm morph`, by the samples that they know
    "geodesic": Model("morphing", _geodesic),
    "geodesic-swiss-roll": Model(
        "morphing",
        partial(_geodesic, shape=(3,), code=2, width=96, halvings=0),
        weights="geodesic-swiss-roll-e6754d0b.safetensors",
    ),
    "geodesic-s-curve": Model(
        "morphing",
        partial(_geodesic, shape=(3,), code=2, width=96, halvings=0),
        weights="geodesic-s-curve-beb9db98.safetensors",
    ),
    "geodesic-objects": Model(
        "morphing",
        partial(_geodesic, shape=(3, 24, 24), code=2, width=160, halvings=0),
        weights="geodesic-objects-f544fece.safetensors",
    ),
    "geodesic-digits": Model(
        "morphing",
        partial(_geodesic, shape=(1, 8, 8), code=8, width=192, halvings=0),
        weights="geodesic-digits-e924cdbf.safetensors",
    ),
    "geodesic-slant": Model(
        "morphing",
        partial(_geodesic, shape=(1, 16, 16), code=12, width=160, halvings=0),
        weights="geodesic-slant-5d848717.safetensors",
    ),
}


def list_models(pattern: str = "*") -> list[str]:
    """The names of models that match a shell pattern such as "*ls3d*", sorted."""
    return sorted(name for name in MODELS if fnmatch(name, pattern))


def name_of(model: object) -> str | None:
    """The name of a model that `create_model` made, if it has the class and config of the table; else None."""
    name = getattr(model, "name", None)
    row = MODELS.get(name) if isinstance(name, str) else None
    if row is None:
        return None
    build, config = row.parts()
    is_of_row = type(model) is build and (config is None or getattr(model, "config", None) == config)
    return name if is_of_row else None


def tiled_models(task: str | None) -> list[str]:
    """Names of the models for a task that can run as they ship, and in tiles because their reach is finite."""
    ready = [name for name, row in MODELS.items() if row.task == task and row.runs_as_shipped]
    return [name for name in ready if create_model(name).reach is not None]


def named(model: str | None, weights: str | Path | None = "default") -> tuple[str | None, str | Path | None]:
    """A model's name and its weights, where a weight file may be given as either, since it says its model.

    model     a name, or the path of a weight file; None: the model of the weight file, if one is given
    weights   as for `create_model`
    out       None as the name if neither says it

    Raises UsageError if both are weight files, WeightsError as `load_weights`.
    """
    file: str | Path
    if model is not None and model not in MODELS and _names_a_file(model):
        if weights != "default":
            raise UsageError(f"{model} and {weights} are both weights; give one of them, and a model by its name")
        file = model
    elif model is None and weights is not None and weights != "default":
        file = weights
    else:
        return model, weights
    from refilm.weights import load_weights

    return load_weights(file).model, file


def _names_a_file(text: str) -> bool:
    return text.endswith(".safetensors") or "/" in text or Path(text).is_file()


def weights_name(model: str, weights: str | Path | None) -> str | None:
    """The name of a model's weights, which follows from their content; None if there are none.

    model     a name in the table
    weights   as for `create_model`

    Raises WeightsError if the file cannot be read.
    """
    if weights == "default":
        return MODELS[model].weights
    if weights is None:
        return None
    from refilm.weights import name_by_content

    return name_by_content(weights)


def find_weights(model: str, name: str | None, folders: Iterable[Path]) -> Path | None:
    """The weight file of this name that follows from its content, such as `weights_name` gives.

    model     a name in the table
    name      None for a model without weights
    folders   where it is looked for, beside those that ship

    -> None if there is none
    """
    from refilm.weights import SHIPPED

    if name is None or Path(name).name != name:
        return None
    for folder in (SHIPPED, *folders):
        found = folder / name
        if found.is_file() and weights_name(model, found) == name:
            return found
    return None


def create_model(name: str, weights: str | Path | None = "default", **overrides: Any) -> nn.Module:
    """Make a model from its name and load its weights.

    name       one of `list_models()`, or the path of a weight file, which says its model
    weights    "default": the file that ships; None: random initialisation; or a weight file: its path, or the name of
               one that ships
    overrides  fields of the model's config, such as `ls3d_blocks=()`

    The config in a weight file takes precedence over the table's, and `overrides` over both. The model is in evaluation
    mode if weights were loaded, else in training mode. Raises ValueError for an unknown name or field, and for weights
    of a classical method; WeightsError if the weights are missing, damaged or belong to another model.
    """
    found, weights = named(name, weights)
    name = found or name
    row = row_of(name)
    from refilm.ops.threads import let_idle_threads_sleep

    let_idle_threads_sleep()
    model = _made(name, row, weights, overrides)
    model.name = name  # type: ignore[assignment]  # for messages
    return model


def _made(name: str, row: Model, weights: str | Path | None, overrides: dict[str, Any]) -> nn.Module:
    build, config = row.parts()
    if not row.learned:
        if weights not in ("default", None):
            raise ValueError(f"{name} has no weights")
        if config is not None:
            return build(_configure(name, config, overrides))
        if overrides:
            raise ValueError(f"{name} has no config")
        return build()
    from refilm.weights import SHIPPED, load_weights

    if weights is None:
        return build(_configure(name, config, overrides))
    if weights == "default":
        if row.weights is None:
            raise WeightsError(
                f"no weights ship for {name}; train some with `refilm train`, and give their file: --weights FILE, "
                "or in Python weights=FILE (weights=None: a random start)"
            )
        weights = SHIPPED / row.weights
    loaded = load_weights(weights)
    of_file = row_of(loaded.model)
    if (of_file.parts()[0], of_file.task) != (build, row.task):
        raise WeightsError(f"{weights}: holds {loaded.model}, not {name}")
    model = build(_configure(name, replace(config, **loaded.config), overrides))
    fill(model, loaded)
    return model.eval()


def fill(model: nn.Module, weights: Weights, strict: bool = True) -> None:
    """Copy weights into a model.

    strict   whether the file must have all parameters of the model. If not, the predictors of offsets and importances
             in LS3D-Conv layers may be missing and keep their initialisation, so that the weights of a network with
             plain convolutions can be loaded

    Raises WeightsError if other names or shapes differ.
    """
    from refilm.layers.ls3d import sampling_parameters

    state = dict(weights.state)
    if not strict:
        own = model.state_dict()
        state = {name: own[name] for name in sampling_parameters(model)} | state
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"weights of {weights.model} do not fit the model: {error}") from None


def row_of(name: str) -> Model:
    """The row of a model or part. Raises ValueError if there is none of that name."""
    rows = MODELS | PARTS
    if name not in rows:
        near = difflib.get_close_matches(name, rows, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no model is called {name!r}{hint} There are: {', '.join(list_models())}")
    return rows[name]


def _configure(name: str, config: Any, overrides: dict[str, Any]) -> Any:
    unknown = sorted(set(overrides) - set(vars(config)))
    if unknown:
        raise ValueError(f"{name} has no config field {unknown[0]!r}; there are: {', '.join(vars(config))}")
    config = replace(config, **overrides)
    task = row_of(name).task
    if getattr(config, "task", task) != task:
        raise ValueError(f"{name} is for {task}, and its config cannot name {config.task}; take a model for that")
    return config
