"""The command, as people and programs call it."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from media import probed_times, tool

from refilm.cli.main import run
from refilm.tasks import TASKS
from refilm.video.ffmpeg import has_encoder


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_interpolate_ends_with_a_table_and_code_0(media, tmp_path, capsys):
    arguments = ["interpolate", str(media("cfr-24").path), str(tmp_path / "out.mp4"), "--times", "2"]
    assert run([*arguments, "--model", "flow-blend"]) == 0
    shown = capsys.readouterr()
    assert "24 in, 47 out: 24 kept, 23 new" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        (("refilm", "de"), {"denoise", "deblock", "deblur", "detect", "decode"}),
        (("refilm", "denoise", "--si"), {"--sigma"}),
        (("refilm", "denoise", "--for", ""), {"browser", "editing", "archive", "phone"}),
        (("refilm", "denoise", "fi"), {"film.mkv"}),
    ],
)
def test_bash_completes_commands_options_values_and_files(words, proposed, tmp_path, capsys):
    (tmp_path / "film.mkv").touch()
    assert run(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    asked = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _refilm"
    code = f"{script}\n{asked}; printf '%s\n' ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash"], input=code, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert set(done.stdout.split()) == proposed


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef refilm"), ("fish", "# Fish completion")])
def test_other_shells_have_scripts_too(shell, begins, capsys):
    assert run(["completion", shell]) == 0
    assert capsys.readouterr().out.startswith(begins)


def test_json_is_one_event_a_line_and_ends_with_the_report(media, tmp_path, capsys):
    source = str(media("companions-mkv").path)
    options = ["--model", "flow-blend", "--json", "--drop-streams"]
    assert run(["interpolate", source, str(tmp_path / "out.mp4"), *options]) == 0
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
        (["interpolate", "a.mp4", "b.mp4", "--times", "2.5"], 2, "times must be a whole number, got 2.5; --fps takes"),
        (["interpolate", "a.mp4", "b.mp4", "--times", "nan"], 2, "times must be a whole number, got nan"),
        (["interpolate", "a.mp4", "b.mp4", "--times", "two"], 2, "wanted a whole number, got 'two'"),
        (["interpolate", "a.mp4", "b.mp4", "--threads", "1.5"], 2, "threads must be a whole number, got 1.5"),
        (["interpolate", "a.mp4", "b.mp4", "--tile", "64.5"], 2, "tile must be a whole number, got 64.5"),
        (["interpolate", "a.mp4", "--output-dir", "b", "--jobs", "1.5"], 2, "jobs must be a whole number, got 1.5"),
        (["upscale", "a.mp4", "b.mp4", "--scale", "2.5"], 2, "scale must be a whole number, got 2.5"),
        (["enhance", "a.mp4", "b.mp4", "--upscale", "2.5"], 2, "upscale must be a whole number, got 2.5"),
        (["interpolate", "a.mp4", "b.mp4", "--device", "gpu0"], 2, "no device is called 'gpu0'"),
        (["interpolate", "a.mp4", "b.mp4", "--device", "mps"], 2, "no device is called 'mps'; there are cpu, cuda"),
        (["interpolate", "a.mp4", "b.mp4", "--device", "meta"], 2, "no device is called 'meta'"),
        (["eval", "flow-blend", "clips", "--device", "mps"], 2, "no device is called 'mps'"),
        (["interpolate", "-", "--output-dir", "d"], 2, "- is standard input, which goes with one output"),
        (["interpolate", "http://localhost/a.mp4", "b.mp4"], 1, "refilm reads files, not addresses"),
        (["interpolate", "a.mp4", "rtmp://localhost/b.mp4"], 1, "refilm writes files, not to addresses"),
        (["interpolate", "a.mp4", "."], 1, ".: is a folder; give the name of a file in it"),
        (["interpolate", "a.mp4", ".."], 1, "..: is a folder; give the name of a file in it"),
        (["interpolate", "a.mp4", "/"], 1, "/: is a folder; give the name of a file in it"),
        (["interpolate", "a.mp4", "b.mp4", "--input-fps", "0"], 2, "wanted a frame rate"),
        (["enlarge"], 2, "enlarge"),
    ],
)
def test_wrong_calls_are_told_in_words_and_by_exit_code(arguments, code, message, capsys):
    assert run(arguments) == code
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_stay_out_of_the_output(media, tmp_path, closed):
    output = tmp_path / "out.mkv"
    options = "--model flow-blend --codec libsvtav1 --preset 13"
    command = f"{shlex.quote(sys.executable)} -m refilm.cli.main interpolate"
    done = subprocess.run(f"{command} {media('rgb').path} {output} {options} {closed}", shell=True, check=False)
    assert done.returncode == 0
    assert len(probed_times(output)) == 11


def test_an_animated_webp_is_refused_with_the_way_out(tmp_path, capsys):
    source = tmp_path / "in.webp"
    tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:duration=0.2", "-f", "webp", str(source))
    assert run(["interpolate", str(source), str(tmp_path / "out.mp4"), "--model", "flow-blend"]) == 1
    assert "is an animated WebP, which FFmpeg does not decode; make numbered pictures" in capsys.readouterr().err


def test_encoder_settings_that_do_not_go_together_are_told(media, tmp_path, capsys):
    arguments = ["interpolate", str(media("cfr-24").path), str(tmp_path / "out.mkv"), "--model", "flow-blend"]
    for options, message in (
        (["--codec", "x264"], "no encoder named 'x264'"),
        (["--codec", "aac"], "encodes audio, not video"),
        (["--codec", "ffv1", "--crf", "20"], "ffv1 has no --crf"),
        (["--codec", "ffv1", "--preset", "slow"], "ffv1 has no --preset"),
        (["--pix-fmt", "rgb24"], "libx264 does not encode rgb24"),
        (["--preset", "fastest"], "--preset of libx264 is one of ultrafast, superfast, "),
        (["--codec", "libsvtav1", "--preset", "slow"], "--preset of libsvtav1 is one of -1, 0, "),
        (["--crf", "-5"], "--crf of libx264 is a number from 0, the best quality, to 51; got -5"),
        (["--crf", "99"], "--crf of libx264 is a number from 0, the best quality, to 51; got 99"),
        (["--crf", "nan"], "--crf of libx264 is a number from 0, the best quality, to 51; got nan"),
        (["--codec", "libsvtav1", "--crf", "20.5"], "--crf of libsvtav1 is a whole number from 0, the best quality"),
        (["--codec", "rawvideo", "--pix-fmt", "often"], "refilm makes no pictures in often; leave out --pix-fmt"),
        (["--codec", "exr", "--pix-fmt", "gbrpf32le"], "refilm makes no pictures in gbrpf32le; leave out --pix-fmt"),
        (["--codec", "hdr"], "hdr encodes gbrpf32le only, which refilm does not make"),
        (["--codec", "vc2"], "vc2 refuses 96x64 yuv420p: "),
    ):
        assert run([*arguments, *options]) == 1
        said = capsys.readouterr().err
        assert message in said
        assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_whose_hardware_is_missing_says_so_itself(media, tmp_path, capfd):
    names = [name for name in ("h264_amf", "h264_v4l2m2m", "h264_nvenc") if has_encoder(name)]
    arguments = ["interpolate", str(media("cfr-24").path), str(tmp_path / "out.mkv"), "--model", "flow-blend"]
    told = []
    for name in names:
        if run([*arguments, "--codec", name, "--overwrite"]):
            told += capfd.readouterr().err.splitlines()
    if not told:
        pytest.skip("this FFmpeg has no encoder whose hardware is missing here")
    for line in told:
        assert re.search(r"needs hardware or a driver that it does not find here \(.+\); take an encoder", line)


@pytest.mark.parametrize("codec", ["libsvtav1", "libx265"])
def test_the_banner_of_an_encoder_does_not_reach_the_terminal(media, tmp_path, capfd, codec):
    arguments = ["interpolate", str(media("cfr-24").path), str(tmp_path / "out.mkv"), "--model", "flow-blend"]
    assert run([*arguments, "--codec", codec]) == 0
    # a slow machine sees lines of progress before the closing words
    said = re.sub(r"(?m)^\d+ of \d+ frames, .*\n", "", capfd.readouterr().err)
    assert said.startswith(str(tmp_path / "out.mkv"))


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


def test_probe_shows_on_demand_what_is_seen_in_the_film(media, capsys):
    source = str(media("interlaced").path)
    assert run(["probe", source, "--findings"]) == 0
    told = capsys.readouterr().out
    assert "what refilm sees" in told
    assert "bwdif" in told.splitlines()[-1]
    assert run(["probe", source, "--findings", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["width"], told["findings"]["interlaced"]) == (96, True)


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
    assert found["encoders"]["libx264"] == "works"
    assert not [state for state in found["encoders"].values() if state == "built in"]
