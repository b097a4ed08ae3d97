"""Checkpoints of other programs: read without running their code, and renamed to the names that backbones have here.

Layouts that are known, by what their names look like:

    MobileNetV2         torchvision (up to 0.8, and since), timm, mmaction2
    EfficientNet-Lite0  timm, efficientnet-lite-pytorch
    ResNet-50, I3D      torchvision and timm, mmaction2 (TSN, TSM, I3D), PySlowFast (C2D, I3D, non-local)
    BN-Inception        tsn-pytorch and mmaction2
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from refilm.errors import WeightsError

# Where programs put the parameters in a checkpoint, and what they put before each name.
_NESTS = ("state_dict", "model_state", "model")
_PREFIX = re.compile(r"^((module|backbone|base_model|model)\.)+")

_CLASSIFIERS = re.compile(
    r"(fc|new_fc|last_linear|_fc|classifier(\.1)?|cls_head\.fc_cls|head\.projection)\.(weight|bias)"
)

# The parts of an inverted residual block, in their order: what is not there is skipped.
_TIMM_EXPANDING = ("conv_pw", "conv_dw", "conv_pwl")
_TIMM_FIRST = ("conv_dw", "conv_pw")

_RESNET = (
    # mmaction2
    (r"^conv1\.conv\.", "conv1."),
    (r"^conv1\.bn\.", "bn1."),
    (r"^(layer\d\.\d+)\.conv(\d)\.conv\.", r"\1.conv\2."),
    (r"^(layer\d\.\d+)\.conv(\d)\.bn\.", r"\1.bn\2."),
    (r"^(layer\d\.\d+)\.downsample\.conv\.", r"\1.downsample.0."),
    (r"^(layer\d\.\d+)\.downsample\.bn\.", r"\1.downsample.1."),
    # PySlowFast, whose s2 is layer1
    (r"^s1\.pathway0_stem\.conv\.", "conv1."),
    (r"^s1\.pathway0_stem\.bn\.", "bn1."),
)
_SLOWFAST = re.compile(r"^s(\d)\.pathway0_(res|nonlocal)(\d+)\.(.+)\.(\w+)$")
_SLOWFAST_PARTS = {
    "branch1": "downsample.0",
    "branch1_bn": "downsample.1",
    **{f"branch2.{letter}": f"conv{number}" for number, letter in enumerate("abc", 1)},
    **{f"branch2.{letter}_bn": f"bn{number}" for number, letter in enumerate("abc", 1)},
    **{f"conv_{part}": part for part in ("theta", "phi", "g", "out")},
    "norm": "bn",
    "bn": "bn",
}


@dataclass(frozen=True)
class Foreign:
    """What a checkpoint holds.

    backbone     parameters of the backbone by our names
    classifier   weight [K, C] and bias [K] of the last layer; None if it has none
    """

    backbone: Mapping[str, Tensor]
    classifier: tuple[Tensor, Tensor] | None


def read_foreign(path: str | Path) -> Foreign:
    """Read a checkpoint of another program, safetensors or pickled by PyTorch.

    Of a pickled one, only tensors and plain values are read (`weights_only=True`). Raises WeightsError if the file is
    missing, holds anything else, or its names are of no known layout.
    """
    state = {_PREFIX.sub("", name).replace(".net.", "."): value.float() for name, value in _tensors(Path(path)).items()}
    last = {name: value for name, value in state.items() if _CLASSIFIERS.fullmatch(name)}
    rest = {name: value for name, value in state.items() if name not in last}
    weight = next((value for name, value in last.items() if name.endswith("weight")), None)
    bias = next((value for name, value in last.items() if name.endswith("bias")), None)
    classifier = None if weight is None or bias is None else (weight.flatten(1), bias)
    return Foreign(_without_folding(_renamed(rest, path)), classifier)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            found: object = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a file of something else makes the reader stumble in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path}: not a checkpoint of tensors and plain values, and no other is read, since it could run code "
            f"({reason})"
        ) from None
    for nest in _NESTS:
        if isinstance(found, Mapping) and isinstance(found.get(nest), Mapping):
            found = found[nest]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path}: holds no parameters, such as a state_dict")
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def _renamed(state: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """By our names."""
    names = set(state)
    if any(name.startswith(("conv1_7x7_s2", "inception_3a")) for name in names):
        return {_bn_inception(name): value for name, value in state.items()}
    if any(re.match(r"features\.\d+\.", name) for name in names):
        modern = "features.2.conv.0.0.weight" in names
        return {_torchvision(name) if modern else name: value for name, value in state.items()}
    if any(name.startswith(("blocks.", "_blocks.")) or ".conv.0.conv." in name for name in names):
        return _inverted_residual(state)
    if any(name.startswith(("layer1.", "s2.pathway0_")) for name in names):
        return {_resnet(name): value for name, value in state.items()}
    some = ", ".join(sorted(names)[:3])
    raise WeightsError(f"{path}: parameters such as {some} are of no known layout; see docs/checkpoints.md")


def _bn_inception(name: str) -> str:
    """ "inception_3a_double_3x3_1_bn.weight" -> "blocks.3a.double_3x3_1.1.weight" """
    part, leaf = name.rsplit(".", 1)
    place = "1" if part.endswith("_bn") else "0"
    part = re.sub(r"^inception_(\d[a-e])_", r"blocks.\1.", part.removesuffix("_bn"))
    return f"{part}.{place}.{leaf}"


def _torchvision(name: str) -> str:
    """ "features.2.conv.1.0.weight" -> "features.2.conv.3.weight", as in torchvision up to 0.8"""
    found = re.fullmatch(r"features\.(\d+)\.conv\.(\d)(?:\.([01]))?\.(\w+)", name)
    if found is None:
        return name
    block, part, place, leaf = found.groups()
    expands = block != "1"
    if place is None:  # the last convolution, and its batch normalisation
        number = 3 * (2 if expands else 1) + int(part) - (2 if expands else 1)
    else:
        number = 3 * int(part) + int(place)
    return f"features.{block}.conv.{number}.{leaf}"


def _inverted_residual(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From timm, efficientnet-lite-pytorch and mmaction2, which number the blocks by stage, or have another number."""
    pattern = re.compile(r"(?:_?blocks|layer(?=\d+\.\d+\.conv))\.?((?:\d+\.)+)(conv\.\d\.conv|conv\.\d\.bn|\w+)\.(\w+)")
    blocks: dict[tuple[int, ...], dict[str, dict[str, Tensor]]] = {}
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        found = pattern.fullmatch(name)
        if found is not None:
            place = tuple(int(number) for number in found[1].rstrip(".").split("."))
            blocks.setdefault(place, {}).setdefault(found[2], {})[found[3]] = value
    for number, place in enumerate(sorted(blocks), 1):
        parts = blocks[place]
        for part, leaves in parts.items():
            own = f"features.{number}.conv.{_part(part, parts)}"
            renamed |= {f"{own}.{leaf}": value for leaf, value in leaves.items()}
    ends = {
        "features.0.0": ("conv_stem", "_conv_stem", "conv1.conv"),
        "features.0.1": ("bn1", "_bn0", "conv1.bn"),
        f"features.{len(blocks) + 1}.0": ("conv_head", "_conv_head", "conv2.conv"),
        f"features.{len(blocks) + 1}.1": ("bn2", "_bn1", "conv2.bn"),
    }
    for own, names in ends.items():
        for name in names:
            leaves = {key.rsplit(".", 1)[1]: value for key, value in state.items() if key.rsplit(".", 1)[0] == name}
            renamed |= {f"{own}.{leaf}": value for leaf, value in leaves.items()}
    return renamed


def _part(part: str, parts: Mapping[str, object]) -> int:
    """The place in `InvertedResidual.conv` of a part of a block that has all of `parts`."""
    if found := re.fullmatch(r"conv\.(\d)\.(conv|bn)", part):  # mmaction2
        return 3 * int(found[1]) + (found[2] == "bn")
    if part.startswith("_"):  # efficientnet-lite-pytorch: _bn0 is that of _expand_conv
        convs = [name for name in ("_expand_conv", "_depthwise_conv", "_project_conv") if name in parts]
        norms = [name for name in ("_bn0", "_bn1", "_bn2") if name in parts]
    else:
        convs = list(_TIMM_EXPANDING if "conv_pwl" in parts else _TIMM_FIRST)
        norms = ["bn1", "bn2", "bn3"]
    return 3 * norms.index(part) + 1 if part in norms else 3 * convs.index(part)


def _resnet(name: str) -> str:
    for pattern, own in _RESNET:
        if re.match(pattern, name):
            return re.sub(pattern, own, name)
    found = _SLOWFAST.fullmatch(name)
    if found is None or found[4] not in _SLOWFAST_PARTS:
        return name
    stage, kind, block, part, leaf = found.groups()
    place = f"layer{int(stage) - 1}.{block}" if kind == "res" else f"non_local.{int(stage) - 2}-{block}"
    return f"{place}.{_SLOWFAST_PARTS[part]}.{leaf}"


def _without_folding(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With a batch normalisation that adds the bias after each convolution of a ResNet into which it was folded."""
    unfolded = dict(state)
    for name in state:
        norm = re.sub(r"conv(\d)\.bias$", r"bn\1.", name).replace("downsample.0.bias", "downsample.1.")
        if norm == name or f"{norm}weight" in state or not norm.endswith(".") or "non_local" in name:
            continue
        bias = unfolded.pop(name)
        epsilon = 1e-5  # of nn.BatchNorm2d, so that its root of variance + epsilon is 1
        values = {"weight": 1.0, "running_mean": 0.0, "running_var": 1.0 - epsilon}
        unfolded |= {f"{norm}{leaf}": torch.full_like(bias, value) for leaf, value in values.items()}
        unfolded |= {f"{norm}bias": bias, f"{norm}num_batches_tracked": torch.tensor(0)}
    return unfolded
