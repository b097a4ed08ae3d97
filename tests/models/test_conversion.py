from __future__ import annotations

import pytest
import torch

from refilm.cli.main import run
from refilm.errors import UsageError, WeightsError
from refilm.layers.backbones import make_backbone
from refilm.models import create_model
from refilm.models.conversion import convert


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A MobileNetV2 as torchvision 0.8 has it, with a classifier of 11 classes."""
    path = tmp_path_factory.mktemp("theirs") / "mobilenet.pth"
    state = make_backbone("mobilenet-v2").state_dict()
    torch.save(state | {"classifier.1.weight": torch.rand(11, 1280), "classifier.1.bias": torch.rand(11)}, path)
    return path


def test_a_checkpoint_becomes_a_weight_file_of_a_model(checkpoint, tmp_path):
    made = convert(checkpoint, "tsn-gesture", tmp_path)
    model, theirs = create_model("tsn-gesture", made.path), torch.load(checkpoint, weights_only=True)
    own = model.streams["rgb"]
    for name, value in own.backbone.state_dict().items():
        assert torch.equal(value.float(), theirs[name].half().float())  # as the file keeps them
    assert torch.equal(own.consensus.classifier.bias, theirs["classifier.1.bias"].half().float())
    assert made.classifier
    assert made.taken + made.started == sum(p.numel() for p in model.parameters())


def test_what_the_checkpoint_lacks_has_the_same_random_start_each_time(checkpoint, tmp_path):
    made, again = (convert(checkpoint, "tsn-off-fight", tmp_path) for _ in range(2))
    assert made == again
    assert made.started > 0
    assert not made.classifier


def test_classes_may_be_named(checkpoint, tmp_path):
    made = convert(checkpoint, "tsn-gesture", tmp_path, labels=[f"gesture {n}" for n in range(11)])
    assert create_model("tsn-gesture", made.path).labels[3] == "gesture 3"


def test_another_backbone_or_model_is_refused(checkpoint, tmp_path):
    with pytest.raises(WeightsError, match="does not fit the backbone of tsm-r50"):
        convert(checkpoint, "tsm-r50", tmp_path)
    with pytest.raises(UsageError, match="dncnn is no model with a backbone"):
        convert(checkpoint, "dncnn", tmp_path)


def test_the_command_says_what_it_took(checkpoint, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"gesture {n}" for n in range(11)))
    assert (
        run(["weights", "convert", str(checkpoint), str(tmp_path), "--model", "tsn-gesture", "--labels", str(names)])
        == 0
    )
    told = capsys.readouterr().out
    assert "weights: " in told
    assert "with its classifier" in told
    (made,) = tmp_path.glob("tsn-gesture-*.safetensors")
    assert create_model("tsn-gesture", made).labels[0] == "gesture 0"
