"""ONNX files give what the models give, in any size that they promise, and say what they need."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from refilm import create_model
from refilm.errors import UsageError
from refilm.export.onnx import export_onnx
from refilm.layers.ls3d import LS3DConv
from refilm.models.table import MODELS

# that of an interpolator is exported, and so compared, by tests/test_docs.py
EXPORTED = ("vdn-ls3d-small", "rfcn-mobilenet")
REFUSED = {
    "flow-blend": "motion by DIS",
    "vi-ls3d-flow": "motion by DIS",
    "dvc-epa-small": "same bits",
}


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("onnx"), {}

    def get(name):
        if name not in made:
            made[name] = export_onnx(name, folder / f"{name}.onnx")
        return made[name]

    return get


def test_a_denoiser_gives_the_same_in_any_size_and_batch(exported):
    made = exported("vdn-ls3d-small")
    model = create_model("vdn-ls3d-small")
    running = session(made.path)
    generator = torch.Generator().manual_seed(0)
    for count, height, width in ((1, 34, 50), (3, 64, 36)):
        clip = torch.rand(count, 3, 5, height, width, generator=generator)
        sigma = torch.full((count,), 20.0)
        sigma[0] = float("nan")
        with torch.inference_mode():
            wanted = model.network(clip, sigma)
        (found,) = running.run(None, {"clip": clip.numpy(), "sigma_8bit": sigma.numpy()})
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", EXPORTED)
def test_results_were_compared_and_the_file_says_what_it_is(exported, name):
    made = exported(name)
    assert made.difference < 1e-3
    told = json.loads(session(made.path).get_modelmeta().custom_metadata_map["refilm"])
    model = create_model(name)
    assert (told["model"], told["weights"], told["window"]) == (name, MODELS[name].weights, model.window)
    assert told["labels"] == list(getattr(model, "labels", ()))
    assert told["needs"] == made.needs


def test_sizes_are_named(exported):
    assert exported("vdn-ls3d-small").inputs["clip"] == ["batch", 3, 5, "2*height", "2*width"]
    assert exported("vdn-ls3d-small").outputs == {"frame": ["batch", 3, "2*height", "2*width"]}


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [((3, 3, 3), 1, 1, 1), ((3, 1, 1), (2, 1, 1), (1, 0, 0), 1), ((1, 3, 5), (1, 2, 1), (0, 1, 2), (1, 1, 2))],
)
def test_ls3d_conv_of_any_geometry(tmp_path, kernel, stride, padding, dilation):
    from refilm.export.onnx import OPSET, _deform_conv

    torch.manual_seed(0)
    layer = LS3DConv(4, 6, kernel, stride, padding, dilation).eval()
    torch.nn.init.normal_(layer.sampling.weight, std=0.3)
    x = torch.randn(2, 4, 5, 11, 12)
    with torch.no_grad():
        wanted = layer(x)
        traced = torch.export.export(layer, (x,))
        table = {torch.ops.refilm.ls3d_conv.default: _deform_conv}
        torch.onnx.export(traced, custom_translation_table=table, opset_version=OPSET, verbose=False).save(
            tmp_path / "layer.onnx"
        )
    (found,) = session(tmp_path / "layer.onnx").run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


@pytest.mark.parametrize("name", REFUSED)
def test_what_onnx_cannot_express_is_refused_with_the_reason(tmp_path, name):
    with pytest.raises(UsageError, match=REFUSED[name]):
        export_onnx(name, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_wrong_paths(tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export_onnx("vsr-ls3d-small", tmp_path / "out.pt")
    with pytest.raises(UsageError, match="no folder"):
        export_onnx("vsr-ls3d-small", tmp_path / "nowhere" / "out.onnx")
    (tmp_path / "out.onnx").touch()
    with pytest.raises(UsageError, match="exists already"):
        export_onnx("vsr-ls3d-small", tmp_path / "out.onnx")
