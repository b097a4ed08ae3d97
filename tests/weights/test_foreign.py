"""Checkpoints in the layouts of other programs, made up of what a backbone of ours holds."""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from refilm.errors import WeightsError
from refilm.layers.backbones import make_backbone
from refilm.models.i3d import I3D, I3DConfig
from refilm.weights.foreign import read_foreign


@cache
def state_of(name):
    """Of a backbone of ours, with values that differ."""
    state = make_backbone(name).state_dict()
    torch.manual_seed(0)
    return {key: value if key.endswith("tracked") else torch.rand_like(value) for key, value in state.items()}


def renamed(state, *rules):
    def rename(name):
        for pattern, replacement in rules:
            if re.search(pattern, name):
                return re.sub(pattern, replacement, name)
        return name

    return {rename(name): value for name, value in state.items()}


def inverted(state, first, expanding, ends, blocks):
    """Names for the parts of a block by their place in our `conv`: `first` where it does not expand the channels."""
    names = {}
    for name in state:
        _, number, *place, leaf = name.split(".")
        if len(place) == 1:
            names[name] = f"{ends[(int(number) > 0, int(place[0]))]}.{leaf}"
        else:
            parts = first if number == "1" else expanding
            names[name] = f"{blocks(int(number) - 1)}.{parts[int(place[1])]}.{leaf}"
    return {names[name]: value for name, value in state.items()}


def staged(sizes, first=0):
    """ "stage.block" of each block, by its number."""
    return [f"{stage}.{block}" for stage, size in enumerate(sizes, first) for block in range(size)]


TIMM_FIRST = {0: "conv_dw", 1: "bn1", 3: "conv_pw", 4: "bn2"}
TIMM = {0: "conv_pw", 1: "bn1", 3: "conv_dw", 4: "bn2", 6: "conv_pwl", 7: "bn3"}
TIMM_ENDS = {(False, 0): "conv_stem", (False, 1): "bn1", (True, 0): "conv_head", (True, 1): "bn2"}


def mobilenet_timm(state):
    places = staged((1, 2, 3, 4, 3, 3, 1))
    return inverted(state, TIMM_FIRST, TIMM, TIMM_ENDS, lambda block: f"blocks.{places[block]}")


def efficientnet_timm(state):
    places = staged((1, 2, 2, 3, 3, 4, 1))
    return inverted(state, TIMM_FIRST, TIMM, TIMM_ENDS, lambda block: f"blocks.{places[block]}")


def efficientnet_pytorch(state):
    first = {0: "_depthwise_conv", 1: "_bn1", 3: "_project_conv", 4: "_bn2"}
    others = {0: "_expand_conv", 1: "_bn0", 3: "_depthwise_conv", 4: "_bn1", 6: "_project_conv", 7: "_bn2"}
    ends = {(False, 0): "_conv_stem", (False, 1): "_bn0", (True, 0): "_conv_head", (True, 1): "_bn1"}
    return inverted(state, first, others, ends, lambda block: f"_blocks.{block}")


def mobilenet_mmaction(state):
    places = staged((1, 2, 3, 4, 3, 3, 1), first=1)
    parts = {3 * k + n: f"conv.{k}.{kind}" for k in range(3) for n, kind in enumerate(("conv", "bn"))}
    ends = {(e, n): f"conv{1 + e}.{kind}" for e in (False, True) for n, kind in enumerate(("conv", "bn"))}
    named = inverted(state, parts, parts, ends, lambda block: f"layer{places[block]}")
    return {f"backbone.{name}": value for name, value in named.items()}


def mobilenet_torchvision(state):
    return renamed(
        state,
        (r"^(features\.1\.conv)\.([01])\.", r"\1.0.\2."),
        (r"^(features\.1\.conv)\.3\.", r"\1.1."),
        (r"^(features\.1\.conv)\.4\.", r"\1.2."),
        (r"^(features\.\d+\.conv)\.([01])\.", r"\1.0.\2."),
        (r"^(features\.\d+\.conv)\.3\.", r"\1.1.0."),
        (r"^(features\.\d+\.conv)\.4\.", r"\1.1.1."),
        (r"^(features\.\d+\.conv)\.6\.", r"\1.2."),
        (r"^(features\.\d+\.conv)\.7\.", r"\1.3."),
    )


MMACTION_RESNET = (
    (r"downsample\.0\.", "downsample.conv."),
    (r"downsample\.1\.", "downsample.bn."),
    (r"conv(\d)\.", r"conv\1.conv."),
    (r"bn(\d)\.", r"conv\1.bn."),
)


def resnet_mmaction(state):
    return {f"backbone.{name}": value for name, value in renamed(state, *MMACTION_RESNET).items()}


def resnet_tsm(state):
    """TSM's program and mmaction2 wrap each first convolution."""
    shifted = renamed(state, (r"^(layer\d\.\d+\.conv1)\.weight", r"\1.net.weight"))
    return {f"module.base_model.{name}": value for name, value in shifted.items()}


def slowfast(state):
    named = renamed(
        state,
        (r"^conv1\.", "s1.pathway0_stem.conv."),
        (r"^bn1\.", "s1.pathway0_stem.bn."),
        (r"^layer(\d)\.(\d)\.downsample\.0\.", r"layer\1.\2.branch1."),
        (r"^layer(\d)\.(\d)\.downsample\.1\.", r"layer\1.\2.branch1_bn."),
        (r"^layer(\d)\.(\d)\.conv1\.", r"layer\1.\2.branch2.a."),
        (r"^layer(\d)\.(\d)\.bn1\.", r"layer\1.\2.branch2.a_bn."),
        (r"^layer(\d)\.(\d)\.conv2\.", r"layer\1.\2.branch2.b."),
        (r"^layer(\d)\.(\d)\.bn2\.", r"layer\1.\2.branch2.b_bn."),
        (r"^layer(\d)\.(\d)\.conv3\.", r"layer\1.\2.branch2.c."),
        (r"^layer(\d)\.(\d)\.bn3\.", r"layer\1.\2.branch2.c_bn."),
        (r"^non_local\.(\d)-(\d)\.bn\.", r"non_local.\1-\2.norm."),
        (r"^non_local\.(\d)-(\d)\.(theta|phi|g|out)\.", r"non_local.\1-\2.conv_\3."),
    )

    def stage(name):
        if found := re.match(r"layer(\d)\.(\d)\.", name):
            return f"s{int(found[1]) + 1}.pathway0_res{found[2]}.{name[found.end() :]}"
        if found := re.match(r"non_local\.(\d)-(\d)\.", name):
            return f"s{int(found[1]) + 2}.pathway0_nonlocal{found[2]}.{name[found.end() :]}"
        return name

    return {stage(name): value for name, value in named.items()}


def tsn_pytorch(state):
    def rename(name):
        name = re.sub(r"^blocks\.(\d[a-e])\.", r"inception_\1_", name)
        part, place, leaf = name.rsplit(".", 2)
        return f"module.base_model.{part}{'_bn' if place == '1' else ''}.{leaf}"

    return {rename(name): value for name, value in state.items()}


LAYOUTS = [
    ("mobilenet-v2", lambda state: state),
    ("mobilenet-v2", mobilenet_torchvision),
    ("mobilenet-v2", mobilenet_timm),
    ("mobilenet-v2", mobilenet_mmaction),
    ("efficientnet-lite0", efficientnet_timm),
    ("efficientnet-lite0", efficientnet_pytorch),
    ("resnet-50", lambda state: state),
    ("resnet-50", resnet_mmaction),
    ("resnet-50", resnet_tsm),
    ("resnet-50", slowfast),
    ("bn-inception", tsn_pytorch),
]


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_every_layout_is_read_by_our_names(name, layout, tmp_path):
    state = state_of(name)
    torch.save({"epoch": 3, "state_dict": layout(state)}, tmp_path / "theirs.pth")
    found = read_foreign(tmp_path / "theirs.pth").backbone
    assert set(found) == set(state)
    assert all(torch.equal(found[key], value) for key, value in state.items())


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state"])
def test_parameters_are_found_where_programs_put_them(nest, tmp_path):
    state = state_of("mobilenet-v2")
    torch.save(state if nest is None else {"epoch": 3, nest: state}, tmp_path / "theirs.pth")
    assert set(read_foreign(tmp_path / "theirs.pth").backbone) == set(state)


def test_inflated_networks_with_non_local_blocks_are_read_as_pyslowfast_writes_them(tmp_path):
    state = I3D(I3DConfig(width=8, non_local=True)).state_dict()
    state = {name: value for name, value in state.items() if not name.startswith("classifier")}
    torch.save({"model_state": slowfast(state)}, tmp_path / "theirs.pyth")
    assert set(read_foreign(tmp_path / "theirs.pyth").backbone) == set(state)


@pytest.mark.parametrize(
    "last", ["fc", "classifier.1", "module.new_fc", "cls_head.fc_cls", "head.projection", "last_linear"]
)
def test_the_classifier_is_told_from_the_backbone(last, tmp_path):
    state = state_of("resnet-50-thin")
    classifier = {f"{last}.weight": torch.rand(7, 1024), f"{last}.bias": torch.rand(7)}
    save_file(state | classifier, tmp_path / "theirs.safetensors")
    found = read_foreign(tmp_path / "theirs.safetensors")
    assert set(found.backbone) == set(state)
    assert [each.shape for each in found.classifier] == [(7, 1024), (7,)]


def test_folded_batch_normalisation_is_unfolded(tmp_path):
    backbone = make_backbone("resnet-50-thin").eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
    state, folded = backbone.state_dict(), {}
    for name, value in state.items():
        if "conv" in name or "downsample.0" in name:
            norm = re.sub(r"conv(\d)\.weight", r"bn\1", name).replace("downsample.0.weight", "downsample.1")
            scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
            folded[name] = value * scale.view(-1, 1, 1, 1)
            bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
            folded[name.replace("weight", "bias")] = bias
    torch.save(folded, tmp_path / "folded.pt")
    other = make_backbone("resnet-50-thin").eval()
    other.start_from(read_foreign(tmp_path / "folded.pt").backbone)
    frames = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(other.maps(frames)["res5"], backbone.maps(frames)["res5"], rtol=1e-4, atol=1e-4)


class Harmful:
    def __reduce__(self):
        return print, ("this must not run",)


def test_what_could_run_code_is_refused(tmp_path, capsys):
    torch.save({"state_dict": state_of("resnet-50-thin"), "hook": Harmful()}, tmp_path / "theirs.pth")
    with pytest.raises(WeightsError, match="no other is read, since it could run code"):
        read_foreign(tmp_path / "theirs.pth")
    assert "must not run" not in capsys.readouterr().out


def test_other_files_are_refused_by_what_they_are(tmp_path):
    with pytest.raises(WeightsError, match="no such checkpoint"):
        read_foreign(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(WeightsError, match="not a checkpoint of tensors"):
        read_foreign(tmp_path / "text.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="holds no parameters"):
        read_foreign(tmp_path / "empty.pth")
    torch.save({"encoder.weight": torch.rand(3)}, tmp_path / "unknown.pth")
    with pytest.raises(WeightsError, match=r"encoder\.weight are of no known layout"):
        read_foreign(tmp_path / "unknown.pth")
