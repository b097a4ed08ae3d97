"""Several tasks in one pass, from file to file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from media import CLIPS, even, ffprobe, frame_hashes, packet_hashes, probed_streams, probed_tags, probed_times, write
from restorers import quick_segments

import refilm
from refilm.api import STANDARD_INPUT, work_of
from refilm.cli.main import run
from refilm.models import create_model
from refilm.options import Upscale
from refilm.tasks import TASKS
from refilm.weights import Weights, save_weights

ROOT = Path(__file__).parents[1]
LOSSLESS = {"codec": "ffv1"}


def picture(path):
    """Width, height and pixel shape, as ffprobe sees them."""
    (stream,) = ffprobe(path, "-select_streams", "v", "-show_streams")["streams"]
    return int(stream["width"]), int(stream["height"]), stream.get("sample_aspect_ratio")


def test_a_chain_gives_what_its_tasks_give_one_after_another(restorers, media, tmp_path):
    source = media("vfr-mkv").path
    refilm.enhance(
        source, tmp_path / "chain.mkv", denoise=True, sigma=100, deblock=True, upscale=2, times=2, **LOSSLESS
    )
    refilm.denoise(source, tmp_path / "1.mkv", 100, **LOSSLESS)
    refilm.deblock(tmp_path / "1.mkv", tmp_path / "2.mkv", **LOSSLESS)  # its strength is measured in both
    refilm.upscale(tmp_path / "2.mkv", tmp_path / "3.mkv", **LOSSLESS)
    refilm.interpolate(tmp_path / "3.mkv", tmp_path / "4.mkv", 2, **LOSSLESS)
    assert frame_hashes(tmp_path / "chain.mkv") == frame_hashes(tmp_path / "4.mkv")
    assert probed_times(tmp_path / "chain.mkv") == probed_times(tmp_path / "4.mkv")


def test_sound_times_colour_and_pixel_shape_are_what_they_were(restorers, media, tmp_path):
    source, output = media("companions-mkv").path, tmp_path / "out.mkv"
    refilm.enhance(source, output, denoise=True, upscale=2)
    assert probed_streams(output) == [(kind, codec, tag) for kind, codec, tag in probed_streams(source)]
    assert packet_hashes(output, "a:0") == packet_hashes(source, "a:0")
    assert probed_times(output) == probed_times(source)
    assert probed_tags(output) == probed_tags(source)
    wide, larger = media("anamorphic").path, tmp_path / "wide.mp4"
    refilm.upscale(wide, larger)
    assert picture(larger) == (192, 128, "4:3")


def test_what_is_stored_without_loss_is_enlarged_by_the_model_for_it(media, tmp_path):
    film, kept = media("cfr-24").path, tmp_path / "kept.mkv"
    refilm.denoise(film, kept, strength=0, codec="ffv1")
    for source, model in ((film, "vsr-real-small"), (kept, "vsr-ls3d-small"), (STANDARD_INPUT, "vsr-real-small")):
        assert work_of(TASKS["super-resolution"], Upscale(), source=source).model_name == model


def test_one_frame_and_odd_sizes_pass_through_a_chain(restorers, media, tmp_path):
    wanted = {"denoise": True, "deblock": True, "strength": 1}
    report = refilm.enhance(media("one-frame").path, tmp_path / "one.mp4", **wanted, times=2)
    assert (report.frames_in, report.frames_out, report.frames_restored) == (1, 1, 1)
    refilm.enhance(media("odd-420").path, tmp_path / "odd.mkv", denoise=True, upscale=2, **LOSSLESS)
    assert picture(tmp_path / "odd.mkv")[:2] == (194, 110)


def test_the_report_accounts_for_every_stage(restorers, media, tmp_path):
    source, output = media("two-scenes").path, tmp_path / "out.mp4"
    report = refilm.enhance(source, output, denoise=True, strength=1, upscale=2, times=2)
    assert (report.frames_in, report.frames_out) == (36, 71)
    assert (report.frames_kept, report.frames_restored, report.frames_new, report.frames_repeated) == (0, 36, 34, 1)
    assert report.restoration["denoise"] > 1 > report.restoration["upscale"] >= 0
    assert max(map(abs, report.colour_change)) < 1
    written = json.loads((tmp_path / "out.mp4.json").read_text())
    assert written["settings"]["denoise"] == {"model": "soften", "weights": None, "sigma": None, "strength": 1}
    assert written["settings"]["interpolate"]["model"] == "flow-blend"


def test_a_chain_killed_and_called_again_gives_the_same_packets(restorers, monkeypatch, tmp_path):
    quick_segments(monkeypatch)
    source = write(tmp_path / "film.mp4", replace(CLIPS["b-frames"], times=even(150, 24), audio=("eng",))).path
    wanted = {"denoise": True, "sigma": 30, "deblock": True, "upscale": 2, "times": 2, "preset": "ultrafast"}
    refilm.enhance(source, tmp_path / "whole.mp4", **wanted)
    output = tmp_path / "out.mp4"
    options = ["--denoise", "--sigma", "30", "--deblock", "--upscale", "2", "--times", "2", "--preset", "ultrafast"]
    process = subprocess.Popen(
        [sys.executable, "-m", "restorers", "enhance", str(source), str(output), *options],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])},
        stderr=subprocess.DEVNULL,
    )
    while not list(tmp_path.glob("out.mp4.refilm/0*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    assert not output.exists()
    seen = []
    report = refilm.enhance(source, output, **wanted, on_progress=seen.append)
    assert seen[0].resumed_from >= 64
    assert (report.frames_restored, report.frames_new) == (150, 149)
    assert packet_hashes(output, "v:0") == packet_hashes(tmp_path / "whole.mp4", "v:0")
    assert packet_hashes(output, "a:0") == packet_hashes(source, "a:0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing is asked for; wanted at least one of denoise, deblock, upscale, times, fps"),
        ({"sigma": 20, "upscale": 2}, "add denoise, or leave out sigma"),
        ({"denoise": True, "sigma": 0}, "above 0 and at most 255, got 0"),
        ({"denoise": True, "strength": 1.5}, "strength is a number from 0 to 1, got 1.5"),
        ({"strength": 0.5, "upscale": 2}, "add one of them, or leave out strength"),
        ({"denoise": True, "models": ["flow-blend"]}, "flow-blend is a model for interpolation, which is not asked"),
        ({"denoise": True, "models": ["softe"]}, "did you mean soften"),
        ({"denoise": True, "times": 0}, "times must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_done_is_told_before_any_file_is_touched(restorers, arguments, message):
    with pytest.raises(ValueError, match=message):
        refilm.enhance("missing.mp4", "out.mp4", **arguments)


def test_an_option_that_does_not_fit_the_model_is_told_before_anything_is_written(restorers, media, tmp_path):
    with pytest.raises(ValueError, match="double upscales by 2, not by 3"):
        refilm.enhance(media("cfr-24").path, tmp_path / "out.mp4", upscale=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((), {"sigmma": 20}, "no option 'sigmma'; did you mean 'sigma'"),
        ((20, 1, "soften"), {}, "too many positional arguments"),
        ((20,), {"sigma": 30}, "multiple values for argument 'sigma'"),
    ],
)
def test_wrong_keywords_and_too_many_arguments_are_told_as_python_does(restorers, arguments, keywords, message):
    with pytest.raises(TypeError, match=message):
        refilm.denoise("missing.mp4", "out.mp4", *arguments, **keywords)


def test_a_model_of_another_task_is_refused(restorers):
    with pytest.raises(ValueError, match=r"flow-blend is a model for interpolation, not for denoising.* soften"):
        refilm.denoise("missing.mp4", "out.mp4", model="flow-blend")


def test_a_finished_output_is_left_only_to_the_very_job_that_made_it(restorers, media, tmp_path):
    source, output, told = media("cfr-24").path, tmp_path / "out.mp4", []
    first = refilm.denoise(source, output, 20)
    made = output.stat().st_mtime_ns
    assert refilm.denoise(source, output, 20, leave_finished=True, warn=told.append) == first
    assert output.stat().st_mtime_ns == made
    assert "this very job has made it before" in told[0]
    for other in ({"sigma": 21}, {"sigma": 20, "crf": 30}, {"sigma": 20, "precision": "bfloat16"}):
        with pytest.raises(refilm.JobError, match="exists; choose another name"):
            refilm.denoise(source, output, leave_finished=True, **other)


def test_warnings_and_plans_are_logged_and_nothing_is_printed(media, tmp_path, caplog, capfd):
    source, output, told = media("companions-mkv").path, tmp_path / "out.mp4", []
    refilm.interpolate(source, output, model="flow-blend", drop_streams=True, warn=told.append)
    assert capfd.readouterr() == ("", "")
    assert told
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == told
    with caplog.at_level("DEBUG", "refilm"):
        refilm.interpolate(source, output, model="flow-blend", drop_streams=True, overwrite=True, max_memory="3GB")
    assert "budget of 3000 MB" in caplog.text
    assert {record.name.partition(".")[0] for record in caplog.records} == {"refilm"}


def test_names_that_are_imported_on_first_use_are_completed_and_stay_what_they_are():
    names = set(dir(refilm))
    assert {*refilm.__all__, "ops", "models", "video"} <= names
    code = "import refilm; assert refilm.ops.ls3d_conv; [refilm.compare.__call__ for _ in range(2)]; refilm.video.probe"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'opps'"):
        _ = refilm.opps


def test_the_package_says_that_it_is_typed():
    assert (Path(refilm.__file__).parent / "py.typed").is_file()


@pytest.fixture
def weak(tmp_path):
    """Weight files of a denoiser and of a deblocker that change little, and run fast."""
    made = []
    for name in ("vdn-ls3d-small", "vdb-ls3d-small"):
        config = {"channels": 8, "blocks": 1, "ls3d_blocks": [], "window": 3, "temporal_filter": False}
        model = create_model(name, weights=None, **config)
        made.append(save_weights(Weights(name, config, model.state_dict()), tmp_path / "weights"))
    return made


def test_a_weight_file_names_the_model_of_a_task(restorers, weak, media, tmp_path):
    source, (denoiser, deblocker) = media("cfr-24").path, weak
    for number, keywords in enumerate(
        ({"weights": denoiser}, {"model": str(denoiser)}, {"model": "vdn-ls3d-small", "weights": denoiser})
    ):
        report = refilm.denoise(source, tmp_path / f"{number}.mkv", **keywords)
        assert report.settings["denoise"]["model"] == "vdn-ls3d-small"
        assert report.weights == [denoiser.name]
    with pytest.raises(ValueError, match="vdb-ls3d-small is a model for deblocking, not for denoising"):
        refilm.denoise(source, tmp_path / "other.mkv", weights=deblocker)
    with pytest.raises(refilm.WeightsError, match=r"holds vdb-ls3d-small, not vdn-ls3d-small"):
        refilm.denoise(source, tmp_path / "other.mkv", model="vdn-ls3d-small", weights=deblocker)


def test_a_job_knows_weights_by_their_content_not_by_the_name_of_the_file(restorers, weak, media, tmp_path):
    source, (denoiser, _) = media("cfr-24").path, weak
    file = tmp_path / "best"
    config = {"channels": 8, "blocks": 1, "ls3d_blocks": [], "window": 3, "temporal_filter": False}
    torch.manual_seed(1)
    model = create_model("vdn-ls3d-small", weights=None, **config)
    other = save_weights(Weights("vdn-ls3d-small", config, model.state_dict()), tmp_path)
    reports = []
    for weights in (denoiser, other):
        file.write_bytes(weights.read_bytes())
        reports.append(refilm.denoise(source, tmp_path / f"{weights.name}.mkv", weights=file))
        assert reports[-1].weights == [weights.name]
    assert reports[0].identity != reports[1].identity
    assert refilm.denoise(source, tmp_path / "again.mkv", weights=denoiser).identity == reports[0].identity


def test_several_tasks_take_the_weights_that_are_theirs(restorers, weak, media, tmp_path):
    source, (denoiser, deblocker) = media("cfr-24").path, weak
    files = [str(deblocker), str(denoiser)]
    for number, keywords in enumerate(({"weights": files}, {"models": files})):
        report = refilm.enhance(source, tmp_path / f"{number}.mkv", denoise=True, deblock=True, upscale=2, **keywords)
        assert [report.settings[verb]["model"] for verb in ("denoise", "deblock", "upscale")] == [
            "vdn-ls3d-small",
            "vdb-ls3d-small",
            "double",
        ]
        assert report.weights == [denoiser.name, deblocker.name]
    with pytest.raises(ValueError, match="vdb-ls3d-small is a model for deblocking, which is not asked for"):
        refilm.enhance(source, tmp_path / "other.mkv", denoise=True, weights=files)


def test_weights_are_given_to_the_commands(restorers, weak, media, tmp_path, capsys):
    source, (denoiser, deblocker) = str(media("cfr-24").path), map(str, weak)
    both = ["--denoise", "--deblock", "--weights", denoiser, "--weights", deblocker]
    assert run(["enhance", source, str(tmp_path / "a.mkv"), *both]) == 0
    assert run(["denoise", source, str(tmp_path / "b.mkv"), "--model", denoiser]) == 0
    said = capsys.readouterr().err
    assert said.count("vdn-ls3d-small") == 4  # each time the model and its weight file
    assert said.count("vdb-ls3d-small") == 2
