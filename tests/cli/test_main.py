"""The command, as people and programs call it."""

import json

import pytest

from refilm.cli.main import run
from refilm.tasks import TASKS


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_interpolate_ends_with_a_table_and_code_0(media, tmp_path, capsys):
    arguments = ["interpolate", str(media("cfr-24").path), str(tmp_path / "out.mp4"), "--times", "2"]
    assert run([*arguments, "--model", "flow-blend"]) == 0
    shown = capsys.readouterr()
    assert "24 in, 47 out: 24 kept, 23 new" in shown.err
    assert shown.out == ""


def test_json_is_one_event_a_line_and_ends_with_the_report(media, tmp_path, capsys):
    source = str(media("companions-mkv").path)
    assert run(["interpolate", source, str(tmp_path / "out.mp4"), "--model", "flow-blend", "--json"]) == 0
    events = lines(capsys.readouterr().out)
    assert {event["event"] for event in events} >= {"warning", "done"}
    assert events[-1]["event"] == "done"
    assert events[-1]["report"]["frames_out"] == 95


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["interpolate"], 2, "IN"),
        (["interpolate", "a.mp4", "b.mp4", "--tims", "2"], 2, "Did you mean --times"),
        (["interpolate", "a.mp4", "b.mp4", "--times", "2", "--fps", "60"], 2, "times and fps exclude each other"),
        (["interpolate", "a.mp4", "b.mp4", "--times", "0"], 2, "times must be at least 1, got 0"),
        (["interpolate", "a.mp4", "b.mp4", "--fps", "often"], 2, "wanted a frame rate such as 60"),
        (["interpolate", "a.mp4", "b.mp4", "--model", "flow-bled"], 2, "did you mean flow-blend"),
        (["interpolate", "missing.mp4", "b.mp4"], 1, "missing.mp4: no such file"),
        (["probe", "missing.mp4"], 1, "missing.mp4: no such file"),
        (["interpolate", "a.mp4", "b.mp4", "--device", "gpu0"], 2, "no device is called 'gpu0'"),
        (["interpolate", "a.mp4", "b.mp4", "--input-fps", "0"], 2, "wanted a frame rate"),
        (["enlarge"], 2, "enlarge"),
    ],
)
def test_wrong_calls_are_told_in_words_and_by_exit_code(arguments, code, message, capsys):
    assert run(arguments) == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_encoder_settings_that_do_not_go_together_are_told(media, tmp_path, capsys):
    arguments = ["interpolate", str(media("cfr-24").path), str(tmp_path / "out.mkv"), "--model", "flow-blend"]
    for options, message in (
        (["--codec", "x264"], "no encoder named 'x264'"),
        (["--codec", "aac"], "encodes audio, not video"),
        (["--codec", "ffv1", "--crf", "20"], "ffv1 has no --crf"),
        (["--codec", "ffv1", "--preset", "slow"], "ffv1 has no --preset"),
        (["--pix-fmt", "rgb24"], "libx264 does not encode rgb24"),
        (["--preset", "fastest"], "libx264 refuses its settings (crf=17 preset=fastest)"),
        (["--crf", "-5"], "libx264 refuses its settings (crf=-5)"),
    ):
        assert run([*arguments, *options]) == 1
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_needs_the_whole_picture_is_not_tiled(media, tmp_path, capsys):
    source = str(media("cfr-24").path)
    assert run(["interpolate", source, str(tmp_path / "o.mp4"), "--model", "flow-blend", "--tile", "32"]) == 2
    assert "flow-blend needs the whole picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "message"), [("o.avi", "AVI has no time stamps"), ("o/%04d.bmp", "pictures are written as .png")]
)
def test_outputs_that_would_lose_something_are_refused(media, tmp_path, capsys, output, message):
    assert run(["interpolate", str(media("cfr-24").path), str(tmp_path / output), "--model", "flow-blend"]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_probe_says_what_is_in_the_file(media, capsys):
    assert run(["probe", str(media("companions-mkv").path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["width"], found["height"], found["chapters"]) == (96, 64, 2)
    assert [other["kind"] for other in found["others"]][:2] == ["audio", "audio"]
    assert run(["probe", str(media("bt2020-pc-10-ffv1").path)]) == 0
    assert "matrix bt2020nc, range pc" in capsys.readouterr().out


def test_models_marks_the_default_and_shows_its_figure(capsys):
    assert run(["models", "--json"]) == 0
    records = {record["name"]: record for record in json.loads(capsys.readouterr().out)}
    measured = [record for record in records.values() if record["psnr_db"] is not None]
    for task in {record["task"] for record in measured}:
        best = max(r["psnr_db"] for r in measured if r["task"] == task)
        (chosen,) = (r for r in records.values() if r["task"] == task and r["default"])
        assert chosen["psnr_db"] > best - TASKS[task].worth_waiting


def test_doctor_names_what_serves_each_operator(capsys):
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert any(kernel["op"] == "ls3d_conv" for kernel in found["kernels"])
    assert found["encoders"]["libx264"] == "built in"
