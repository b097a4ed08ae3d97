import json
from dataclasses import replace
from pathlib import Path

import pytest

from refilm.errors import RefilmError
from refilm.models.defaults import default_model, default_models, results_folder
from refilm.models.table import MODELS
from refilm.tasks import TASKS


def write(folder: Path, model: str, psnr_db: float, **fields: object) -> None:
    entry = {"mean": {"psnr_db": psnr_db}, "parameters": 0, "weights": None} | fields
    content = {"model": model, "baseline": fields.pop("baseline", False), "protocols": {"interpolation-x2": entry}}
    (folder / f"{model}.json").write_text(json.dumps(content))


def test_the_best_model_is_the_default(tmp_path: Path) -> None:
    write(tmp_path, "good", 30.0)
    write(tmp_path, "best", 31.0)
    write(tmp_path, "worst", 29.0)
    assert default_model("interpolation", tmp_path) == "best"


def test_a_slower_model_must_be_worth_waiting_for(tmp_path: Path) -> None:
    write(tmp_path, "fast", 30.0, ms_per_frame=10.0)
    write(tmp_path, "slow", 30.4, ms_per_frame=50.0)
    assert default_model("interpolation", tmp_path) == "fast"
    write(tmp_path, "slow", 30.6, ms_per_frame=50.0)
    assert default_model("interpolation", tmp_path) == "slow"
    write(tmp_path, "slow", 30.4, ms_per_frame=5.0)
    assert default_model("interpolation", tmp_path) == "slow"


def test_baselines_and_models_without_their_weights_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, "good", 30.0)
    write(tmp_path, "plain", 40.0, baseline=True)
    write(tmp_path, "private", 40.0, parameters=7, weights="somewhere-else-00000000.safetensors")
    write(tmp_path, "untrained", 40.0, parameters=7)
    write(tmp_path, "missing", 40.0, absent="no such filter")
    assert default_model("interpolation", tmp_path) == "good"


def test_without_results_there_is_no_default(tmp_path: Path) -> None:
    with pytest.raises(RefilmError, match=r"no model has a result for interpolation-x2.*name a model"):
        default_model("interpolation", tmp_path)


def test_an_unranked_task_is_named() -> None:
    with pytest.raises(ValueError, match="no task is called 'juggling'; there are: denoising"):
        default_model("juggling")


def test_the_results_that_ship_give_a_default() -> None:
    assert results_folder().is_dir()
    assert default_model("interpolation")


def test_where_models_say_different_things_the_task_names_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = TASKS["recognition"].default
    for weights, expected in ((None, None), ("some-00000000.safetensors", named)):
        monkeypatch.setitem(MODELS, named, replace(MODELS[named], weights=weights))
        assert default_models(tmp_path).get("recognition") == expected


def test_each_task_is_ranked_by_its_own_protocol(tmp_path: Path) -> None:
    write(tmp_path, "smoother", 30.0)
    entry = {"mean": {"psnr_db": 20.0}, "parameters": 0, "weights": None}
    cleaner = {"model": "cleaner", "baseline": False, "protocols": {"denoising-sigma25": entry}}
    (tmp_path / "cleaner.json").write_text(json.dumps(cleaner))
    ranked = {task: model for task, model in default_models(tmp_path).items() if not TASKS[task].default}
    assert ranked == {"interpolation": "smoother", "denoising": "cleaner"}
    with pytest.raises(RefilmError, match=r"for deblocking-h264-crf37 in .*, so there is no default for deblocking"):
        default_model("deblocking", tmp_path)
