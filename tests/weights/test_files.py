import pytest
import torch

from refilm.errors import WeightsError
from refilm.models import MODELS, create_model
from refilm.weights import SHIPPED, Weights, load_weights, save_weights


@pytest.fixture
def saved(tmp_path):
    model = create_model("vi-ls3d-small", weights=None, channels=8, ls3d_blocks=())
    config = {"channels": 8, "ls3d_blocks": []}
    weights = Weights("vi-ls3d-small", config, model.state_dict(), {"file": "r.toml"}, {"psnr": [30.5]})
    return model, save_weights(weights, tmp_path)


def test_a_saved_model_comes_back_with_its_config_recipe_and_figures(saved):
    model, path = saved
    loaded = load_weights(path)
    assert (loaded.recipe, loaded.metrics) == ({"file": "r.toml"}, {"psnr": [30.5]})
    again = create_model("vi-ls3d-small", weights=path)
    assert again.config.channels == 8
    assert not again.training
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name].half().float(), rtol=0, atol=0)


def test_the_name_ends_in_the_checksum_and_it_is_checked(saved):
    _, path = saved
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or altered, its SHA-256 begins with"):
        load_weights(path)


def test_missing_foreign_and_pickled_files_are_refused_with_advice(saved, tmp_path):
    _, path = saved
    with pytest.raises(WeightsError, match=f"no such weight file; the folder has {path.name}"):
        load_weights(tmp_path / "vi-ls3d-small-00000000.safetensors")
    with pytest.raises(WeightsError, match="pickled weights can run code"):
        load_weights(tmp_path / "model.pth")
    with pytest.raises(WeightsError, match="must end in 8 hex digits"):
        load_weights(tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="do not fit the model"):
        create_model("vi-ls3d-small", weights=path, channels=16)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    with pytest.raises(WeightsError, match="w is not finite in half precision"):
        save_weights(Weights("m", {}, {"w": torch.tensor([1e6])}), tmp_path)


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.weights])
def test_weights_that_ship_load_and_beat_the_plain_alternative(name):
    create_model(name)
    metrics = load_weights(SHIPPED / MODELS[name].weights).metrics
    plain = metrics["psnr_blend" if "psnr_blend" in metrics else "psnr_plain"]  # the first files' name for it
    gains = [ours - other for ours, other in zip(metrics["psnr"], plain, strict=True)]
    # flow-blend is no plain thing: beside it a clip may stand level
    assert min(gains) > (-0.05 if name == "vi-ls3d-flow" else 0)
    assert sum(gains) / len(gains) > 0.15
