"""Commands that run no model answer without loading torch, which takes seconds. Modules are counted, not time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from refilm.tasks import TASKS

# Exit code: that of the command; 100 if one of the named modules has been loaded for it.
_RUN = """
import sys
from refilm.cli.main import run
code = run(sys.argv[2:])
sys.exit(100 if any(name in sys.modules for name in sys.argv[1].split(",")) else code)
"""


def exit_code_and_error(*arguments, without="torch"):
    done = subprocess.run(
        [sys.executable, "-c", _RUN, without, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["probe", "compare", "models", "doctor", "eval", "train", "enhance", "recognize"])
def test_help_needs_no_torch(command):
    assert exit_code_and_error(command, "--help") == (0, "")


def test_help_loads_nothing_heavy():
    heavy = "torch,av,cv2,numpy,scipy,asyncio,multiprocessing,sqlite3,http,xml,refilm.api,refilm.stages,refilm.video"
    assert exit_code_and_error("--help", without=heavy) == (0, "")


def test_facts_about_files_and_models_need_no_torch(media):
    source = media("cfr-24").path
    for arguments in (
        ("probe", source),
        ("probe", source, "--json"),
    ):
        assert exit_code_and_error(*arguments) == (0, ""), arguments
    for arguments in (("models",), ("models", "--json"), ("--version",)):
        assert exit_code_and_error(*arguments, without="torch,av,cv2,numpy") == (0, ""), arguments


def test_errors_about_files_and_devices_need_no_torch(media, broken, tmp_path):
    source, output = media("cfr-24").path, tmp_path / "out.mkv"
    existing = tmp_path / "existing.mkv"
    existing.touch()
    for code, message, arguments in (
        (1, "no such file", ("probe", "missing.mp4")),
        (1, "no such file", ("probe", "missing.mp4", "--findings")),
        (1, "no such file", ("enhance", "missing.mp4", output)),
        (1, "no such file", ("interpolate", "missing.mp4", output)),
        (1, "no video stream", ("denoise", broken("audio-only"), output)),
        (1, "no such folder", ("upscale", source, tmp_path / "nowhere" / "out.mkv")),
        (1, "exists", ("interpolate", source, existing)),
        (1, "AVI has no time stamps", ("interpolate", source, tmp_path / "out.avi")),
        (2, "no device is called 'gpu'", ("interpolate", source, output, "--device", "gpu")),
        (2, "did you mean flow-blend", ("interpolate", source, output, "--model", "flow-blen")),
        (2, "--times", ("interpolate", source, output, "--times", "x")),
    ):
        ended, said = exit_code_and_error(*arguments)
        assert (ended, len(said.splitlines())) == (code, 1), said
        assert message in said


def test_errors_about_films_to_be_recognised_need_no_torch(media, broken, tmp_path):
    # a model in the table, whose file would load torch
    row = "MODELS['toy'] = Model('recognition', lambda: 1 / 0, learned=False)"
    code_with_it = f"from refilm.models import MODELS, Model\n{row}\n{_RUN}"
    existing, source = tmp_path / "existing.csv", media("cfr-24").path
    existing.touch()
    for code, message, arguments in (
        (1, "no such file", ("missing.mp4",)),
        (1, "no video stream", (broken("audio-only"),)),
        (1, "exists", (source, "--csv", existing)),
        (1, "no such folder", (source, "--srt", tmp_path / "nowhere" / "out.srt")),
        (2, "wanted a time such as", (source, "--every", "often")),
        (2, "no device is called 'tpu'", (source, "--device", "tpu")),
    ):
        command = [sys.executable, "-c", code_with_it, "torch", "recognize", *map(str, arguments), "--model", "toy"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert message in done.stderr


def test_without_a_measured_model_one_has_to_be_named(media):
    ended, said = exit_code_and_error("recognize", media("cfr-24").path)
    if ended == 2:  # until weights ship
        assert "no default for recognition; name a model" in said


_WITH_DEVICE = [
    *((task.verb, "IN", "OUT") for task in TASKS.values() if task.makes == "pictures"),
    ("enhance", "IN", "OUT", "--denoise"),
    ("enhance", "IN", "OUT"),
    ("interpolate", "IN", "--output-dir", "FOLDER"),
    ("eval", "flow-blend", "FOLDER"),
    ("train", "RECIPE"),
    ("ablate", "RECIPE"),
]


@pytest.mark.parametrize("arguments", _WITH_DEVICE, ids=lambda arguments: " ".join(arguments))
def test_an_unknown_device_is_told_in_one_line(media, tmp_path, arguments):
    recipe = tmp_path / "recipe.toml"
    recipe.touch()
    places = {"IN": media("cfr-24").path, "OUT": tmp_path / "out.mkv", "FOLDER": tmp_path / "new", "RECIPE": recipe}
    ended, said = exit_code_and_error(*(places.get(word, word) for word in arguments), "--device", "tpu")
    assert ended == 2
    assert len(said.splitlines()) == 1, said
    assert "no device is called 'tpu'" in said
    assert sorted(tmp_path.iterdir()) == [recipe]
