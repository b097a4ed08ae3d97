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
from media import CLIPS, even, ffprobe, frame_hashes, packet_hashes, probed_streams, probed_tags, probed_times, write

import refilm

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
    refilm.deblock(tmp_path / "1.mkv", tmp_path / "2.mkv", **LOSSLESS)
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


def test_one_frame_and_odd_sizes_pass_through_a_chain(restorers, media, tmp_path):
    report = refilm.enhance(media("one-frame").path, tmp_path / "one.mp4", denoise=True, deblock=True, times=2)
    assert (report.frames_in, report.frames_out, report.frames_restored) == (1, 1, 1)
    refilm.enhance(media("odd-420").path, tmp_path / "odd.mkv", denoise=True, upscale=2, **LOSSLESS)
    assert picture(tmp_path / "odd.mkv")[:2] == (194, 110)


def test_the_report_accounts_for_every_stage(restorers, media, tmp_path):
    report = refilm.enhance(media("two-scenes").path, tmp_path / "out.mp4", denoise=True, upscale=2, times=2)
    assert (report.frames_in, report.frames_out) == (36, 71)
    assert (report.frames_kept, report.frames_restored, report.frames_new, report.frames_repeated) == (0, 36, 34, 1)
    assert report.restoration["denoise"] > 1 > report.restoration["upscale"] >= 0
    assert max(map(abs, report.colour_change)) < 1
    written = json.loads((tmp_path / "out.mp4.json").read_text())
    assert written["settings"]["denoise"] == {"model": "soften", "weights": None, "sigma": None}
    assert written["settings"]["interpolate"]["model"] == "flow-blend"


def test_a_chain_killed_and_called_again_gives_the_same_packets(restorers, tmp_path):
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
        ({"upscale": 3}, "double upscales by 2, not by 3"),
        ({"denoise": True, "models": ["flow-blend"]}, "flow-blend is a model for interpolation, which is not asked"),
        ({"denoise": True, "models": ["softe"]}, "did you mean soften"),
        ({"denoise": True, "times": 0}, "times must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_done_is_told_before_any_file_is_touched(restorers, arguments, message):
    with pytest.raises(ValueError, match=message):
        refilm.enhance("missing.mp4", "out.mp4", **arguments)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((), {"sigmma": 20}, "no option 'sigmma'; did you mean 'sigma'"),
        ((20, "soften"), {}, "too many positional arguments"),
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
    for other in ({"sigma": 21}, {"sigma": 20, "crf": 30}):
        with pytest.raises(refilm.JobError, match="exists; choose another name"):
            refilm.denoise(source, output, leave_finished=True, **other)
