import pytest
import torch
from safetensors.torch import save_file

from refilm.errors import WeightsError
from refilm.models import MODELS, create_model
from refilm.models.table import named, weights_name
from refilm.weights import SHIPPED, Weights, load_weights, name_by_content, save_weights


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
    with pytest.raises(WeightsError, match=r"model.safetensors: no such weight file"):
        load_weights(tmp_path / "model.safetensors")
    save_file({"w": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match=r"says its model and config .*missing: 'config'.* `refilm train --export`"):
        load_weights(tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("these are no weights")
    for read in (load_weights, name_by_content):
        with pytest.raises(WeightsError, match=r"text\.safetensors: not a weight file of refilm"):
            read(tmp_path / "text.safetensors")
    with pytest.raises(WeightsError, match="do not fit the model"):
        create_model("vi-ls3d-small", weights=path, channels=16)


def test_saving_twice_gives_the_same_bytes_in_whatever_order_the_library_writes(saved, tmp_path):
    """The library keeps metadata in a hash table, whose order is another in each of these calls."""
    _, path = saved
    weights = load_weights(path)
    again = [save_weights(weights, tmp_path / str(number)) for number in range(8)]
    assert {other.name for other in again} == {path.name}
    assert {other.read_bytes() for other in again} == {path.read_bytes()}


@pytest.mark.parametrize("name", ["best.safetensors", "best", "epoch 3.weights", "best-v1a2b3c4d.safetensors"])
def test_a_renamed_file_loads_by_its_path_and_is_the_same_to_a_job(saved, tmp_path, monkeypatch, name):
    _, path = saved
    path.rename(tmp_path / name)
    assert load_weights(tmp_path / name).recipe == {"file": "r.toml"}
    assert name_by_content(tmp_path / name) == path.name
    monkeypatch.chdir(tmp_path)
    for given in (name, f"./{name}", str(tmp_path / name)):
        assert create_model(given).config.channels == 8
        assert weights_name("vi-ls3d-small", given) == path.name


@pytest.mark.parametrize("name", ["somebody/denoiser", "hf:somebody/denoiser", "https://example.org/a.safetensors"])
def test_a_name_on_a_hub_is_refused_with_what_is_possible(name):
    for make in (lambda: create_model(name), lambda: create_model("vdn-ls3d-small", weights=name)):
        with pytest.raises(WeightsError, match=r"no such weight file; .*loads nothing from the network yet\. Download"):
            make()


def test_a_weight_file_says_its_model(saved, monkeypatch):
    _, path = saved
    monkeypatch.chdir(path.parent)
    for model in (str(path), path.name):  # the latter by its name in the current folder
        assert create_model(model).config.channels == 8
        assert named(model) == ("vi-ls3d-small", model)
    assert named(None, path) == ("vi-ls3d-small", path)
    assert named(None) == (None, "default")
    assert named("vi-ls3d", None) == ("vi-ls3d", None)
    with pytest.raises(ValueError, match="are both weights; give one of them, and a model by its name"):
        create_model(str(path), weights=path)


def test_weights_that_ship_load_by_their_name_alone():
    name = MODELS["vdb-ls3d-small"].weights
    assert load_weights(name).model == "vdb-ls3d-small"
    assert create_model(name).task == "deblocking"
    assert create_model("vdb-ls3d-small", weights=name).task == "deblocking"


def test_who_has_no_weights_is_told_how_to_give_them():
    with pytest.raises(
        WeightsError, match=r"no weights ship for vdn-ls3d; .*--weights FILE, or in Python weights=FILE"
    ):
        create_model("vdn-ls3d")


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    with pytest.raises(WeightsError, match="w is not finite in half precision"):
        save_weights(Weights("m", {}, {"w": torch.tensor([1e6])}), tmp_path)


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.weights])
def test_weights_that_ship_load_and_beat_the_plain_alternative(name):
    create_model(name)
    metrics = load_weights(SHIPPED / MODELS[name].weights).metrics
    if MODELS[name].task == "recognition":  # of each clip, whether it is told right: a share of them is what counts
        told, guessed = (sum(metrics[key]) / len(metrics[key]) for key in ("top1", "top1_plain"))
        assert told > guessed + 30
        return
    if MODELS[name].task == "detection":  # of things that it has not learned from, which is all the harder if composed
        assert metrics["map50"][0] > 30
        return
    if MODELS[name].task == "compression":  # where nothing moves, no codec is better than the frame before
        gains = [ours - other for ours, other in zip(metrics["rd"], metrics["rd_plain"], strict=True)]
        assert sum(gains) / len(gains) > 1
        return
    plain = metrics["psnr_blend" if "psnr_blend" in metrics else "psnr_plain"]  # the first files' name for it
    gains = [ours - other for ours, other in zip(metrics["psnr"], plain, strict=True)]
    # flow-blend is no plain thing: beside it a clip may stand level
    assert min(gains) > (-0.05 if name == "vi-ls3d-flow" else 0)
    assert sum(gains) / len(gains) > 0.15
