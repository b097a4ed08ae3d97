"""What a job survives: kills, full disks, other settings, bad files."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import pytest
from media import BROKEN, CLIPS, even, packet_hashes, probed_times, write
from restorers import quick_segments
from stages.test_running import RunningMean, means
from toys.films import read_levels, write_levels

import refilm
from refilm.api import interpolate
from refilm.jobs import planning
from refilm.jobs.job import Job, Start
from refilm.jobs.planning import LONGEST
from refilm.jobs.video_file import VideoFile
from refilm.options import Encoding
from refilm.stages.restore import Restore

COMMAND = [sys.executable, "-m", "refilm.cli.main", "interpolate"]


def smooth(source, output, **options):
    return interpolate(source, output, model="flow-blend", **({"times": 2, "preset": "ultrafast"} | options))


def packets(path):
    return [payload for _, payload in packet_hashes(path, "v:0")]


@pytest.fixture(scope="module", autouse=True)
def quick_frames():
    """Segments are as long as on an idle machine, however busy this one is."""
    with pytest.MonkeyPatch.context() as patch:
        quick_segments(patch)
        yield


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Long enough for five segments, with B-frames and key frames now and then, and sound."""
    clip = replace(CLIPS["b-frames"], times=even(290, 24), audio=("eng",))
    return write(tmp_path_factory.mktemp("film") / "film.mp4", clip).path


@pytest.fixture(scope="module")
def undisturbed(film, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
    smooth(film, output)
    return packets(output)


def stop_after(segments):
    """An observer that presses Ctrl-C when so many segments' worth of source frames are done."""

    def observe(progress):
        if progress.frames - progress.resumed_from >= segments * LONGEST + 5:
            raise KeyboardInterrupt

    return observe


def test_five_kills_at_random_moments_change_no_packet(film, undisturbed, tmp_path):
    output = tmp_path / "out.mp4"
    command = [*COMMAND, str(film), str(output), "--model", "flow-blend", "--preset", "ultrafast"]
    moments = random.Random(5)
    for finished in range(5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(list(tmp_path.glob("out.mp4.refilm/*.piece"))) < finished and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.wait()
        assert not output.exists() or packets(output) == undisturbed, "what has the final name is complete"
    if not output.exists():
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert packets(output) == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.mp4.json"]


@pytest.mark.parametrize("segments", [0, 1, 2, 4])
def test_interrupted_and_called_again_the_packets_are_the_same(film, undisturbed, tmp_path, segments):
    output = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        smooth(film, output, on_progress=stop_after(segments))
    assert not output.exists()
    seen = []
    report = smooth(film, output, on_progress=seen.append)
    assert seen[0].resumed_from == segments * LONGEST
    assert packets(output) == undisturbed
    assert (report.frames_in, report.frames_out, report.frames_kept) == (290, 579, 290)


def test_segments_are_short_where_frames_are_slow_and_a_job_keeps_the_length_that_it_began_with(
    film, tmp_path, monkeypatch
):
    def frames_take(seconds):
        monkeypatch.setattr(planning, "stage_seconds", lambda *_: seconds)
        monkeypatch.setattr(planning, "encoder_seconds", lambda *_: 0)

    output, started = tmp_path / "out.mp4", []
    frames_take(1.0)
    smooth(film, tmp_path / "whole.mp4")

    def stop(progress):
        if progress.frames >= 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="stopped; kept the first 60 of 290 frames; run the same command again"):
        smooth(film, output, on_progress=stop, on_start=started.append)
    frames_take(0.001)  # the machine is idle now
    smooth(film, output, on_start=started.append)
    assert [start._replace(memory=0) for start in started] == [
        Start(290, 0, 290, 0, 30, None),
        Start(290, 60, 230, 0, 30, None),
    ]
    assert packets(output) == packets(tmp_path / "whole.mp4")
    assert [planning.segment_length(seconds) for seconds in (0, 0.1, 1, 1.9, 600)] == [64, 64, 30, 16, 16]


def test_stopped_before_a_segment_is_finished_nothing_is_kept_and_that_is_told(film, tmp_path):
    with pytest.raises(KeyboardInterrupt, match="stopped; nothing is kept yet; the first 64 frames take about"):
        smooth(film, tmp_path / "out.mp4", on_progress=stop_after(0))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_piece_is_made_again(film, undisturbed, tmp_path):
    output = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        smooth(film, output, on_progress=stop_after(3))
    piece = tmp_path / "out.mp4.refilm" / "000001.piece"
    data = bytearray(piece.read_bytes())
    data[len(data) // 2] ^= 1
    piece.write_bytes(data)
    seen = []
    smooth(film, output, on_progress=seen.append)
    assert seen[0].resumed_from == 2 * LONGEST, "the others need not be made again"
    assert packets(output) == undisturbed


def test_other_settings_are_refused_by_name_and_restart_begins_anew(film, tmp_path):
    output = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        smooth(film, output, on_progress=stop_after(1))
    with pytest.raises(refilm.JobError, match=r"settings\.interpolate\.times was 2, now is 3.*--restart"):
        smooth(film, output, times=3)
    with pytest.raises(refilm.JobError, match=r"encoding\.options\.crf was 17, now is 20"):
        smooth(film, output, crf=20)
    assert (tmp_path / "out.mp4.refilm" / "000000.piece").exists()
    report = smooth(film, output, times=1, restart=True)
    assert report.frames_out == 290


def test_another_source_under_the_same_name_is_refused(film, tmp_path):
    source = tmp_path / "film.mp4"
    shutil.copy(film, source)
    with pytest.raises(KeyboardInterrupt):
        smooth(source, tmp_path / "out.mp4", on_progress=stop_after(1))
    write(source, replace(CLIPS["b-frames"], times=even(100, 24)))
    with pytest.raises(refilm.JobError, match=r"source was .* now is"):
        smooth(source, tmp_path / "out.mp4")


def test_two_jobs_on_one_output_do_not_meet(film, tmp_path):
    output, refused = tmp_path / "out.mp4", []

    def observe(_):
        if not refused:
            with pytest.raises(refilm.JobError, match="another refilm is working on this output"):
                smooth(film, output)
            refused.append(True)

    smooth(film, output, times=1, on_progress=observe)
    assert refused


def test_an_existing_output_is_not_touched_unless_told(media, tmp_path):
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    with pytest.raises(refilm.JobError, match=r"exists.*--overwrite"):
        smooth(media("cfr-24").path, output)
    assert output.read_text() == "precious"
    with pytest.raises(KeyboardInterrupt):
        smooth(media("cfr-24").path, output, overwrite=True, on_progress=_interrupt)
    assert output.read_text() == "precious"
    smooth(media("cfr-24").path, output, overwrite=True)
    assert len(probed_times(output)) == 47


def _interrupt(_):
    raise KeyboardInterrupt


def test_the_input_is_never_the_output(media, tmp_path):
    source = tmp_path / "film.mp4"
    shutil.copy(media("cfr-24").path, source)
    with pytest.raises(refilm.JobError, match="is the input"):
        smooth(source, source, overwrite=True)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk takes root")
def test_a_full_disk_loses_nothing_and_room_lets_the_job_go_on(film, undisturbed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=False).returncode:
        pytest.skip("this system does not let us mount a tmpfs")
    try:
        output = disk / "out.mp4"
        with pytest.raises(refilm.JobError, match=r"the disk is full; make room"):
            smooth(film, output)
        assert not output.exists()
        finished = list((disk / "out.mp4.refilm").glob("*.piece"))
        assert finished
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        seen = []
        smooth(film, output, on_progress=seen.append)
        assert all(progress.resumed_from >= len(finished) * LONGEST for progress in seen)
        assert packets(output) == undisturbed
    finally:
        subprocess.run(["umount", disk], check=True)


MESSAGES = {
    "zero-bytes": "the file is empty",
    "text": "not a video file",
    "noise": "cannot be read",
    "audio-only": r"no video stream \(1 audio found\)",
    "without-index": "cannot be read",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_no_video_is_told_in_one_line_and_leaves_nothing(tmp_path, name):
    source = BROKEN[name](tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(refilm.VideoError, match=MESSAGES[name]) as caught:
        smooth(source, tmp_path / "out.mp4")
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["truncated-mkv", "truncated-mp4"])
def test_a_truncated_file_is_processed_to_its_last_good_frame_with_a_warning(tmp_path, name):
    source, warnings = BROKEN[name](tmp_path), []
    report = smooth(source, tmp_path / "out.mp4", warn=warnings.append)
    assert 10 < report.frames_in < 48
    assert len(probed_times(tmp_path / "out.mp4")) == 2 * report.frames_in - 1
    assert any("before its declared end" in warning or "could not be decoded" in warning for warning in warnings)


def test_one_frame_passes_through(media, tmp_path):
    report = smooth(media("one-frame").path, tmp_path / "out.mp4")
    assert (report.frames_in, report.frames_out) == (1, 1)


def test_a_missing_folder_and_one_without_permission_are_told(media, tmp_path):
    with pytest.raises(refilm.JobError, match="no such folder"):
        smooth(media("cfr-24").path, tmp_path / "missing" / "out.mp4")
    with pytest.raises(refilm.VideoError, match="no such file"):
        smooth(tmp_path / "missing.mp4", tmp_path / "out.mp4")
    with pytest.raises(refilm.VideoError, match=r"cannot tell the container.*\.mkv"):
        smooth(media("cfr-24").path, tmp_path / "out.film")


def test_a_read_only_folder_is_told(media, tmp_path):
    if os.geteuid() != 0:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o555)
        with pytest.raises(refilm.JobError, match="permission denied"):
            smooth(media("cfr-24").path, folder / "out.mp4")
    else:
        # root may write anywhere but where nobody can
        with pytest.raises(refilm.JobError, match="cannot write here"):
            smooth(media("cfr-24").path, "/proc/out.mp4")


def test_the_report_accounts_for_every_frame(film, tmp_path):
    report = smooth(film, tmp_path / "out.mp4", times=4)
    written = json.loads((tmp_path / "out.mp4.json").read_text())
    assert written["frames_out"] == report.frames_out == 4 * 289 + 1
    assert report.frames_kept + report.frames_new + report.frames_repeated == report.frames_out
    assert report.frames_left_out == 0
    assert report.self_check.frames == 5
    assert max(map(abs, report.colour_change)) < 0.5


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_length(tmp_path):
    def peak(seconds):
        clip = replace(CLIPS["cfr-24"], times=even(24 * seconds, 24), width=320, height=180)
        source = write(tmp_path / f"{seconds}.mp4", clip).path
        output = tmp_path / f"{seconds}-out.mp4"
        command = [*COMMAND, str(source), str(output), "--preset", "ultrafast", "--model", "flow-blend"]
        subprocess.run(command, check=True, capture_output=True)
        return json.loads((tmp_path / f"{output.name}.json").read_text())["peak_memory_mb"]

    assert peak(180) <= 1.1 * peak(10)


def test_a_stopped_command_exits_with_130_and_says_how_to_go_on(film, tmp_path):
    command = [*COMMAND, str(film), str(tmp_path / "out.mp4"), "--model", "flow-blend", "--times", "8"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    pieces = tmp_path / "out.mp4.refilm"
    while not list(pieces.glob("0*.json")) and process.poll() is None:  # of a finished piece
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out.mp4").exists()


def test_fps_may_be_written_as_people_do(media, tmp_path):
    smooth(media("cfr-ntsc").path, tmp_path / "out.mp4", times=None, fps="59.94")
    assert probed_times(tmp_path / "out.mp4")[:3] == [k * Fraction(1001, 60000) for k in range(3)]
    with pytest.raises(ValueError, match="wanted a frame rate such as"):
        smooth(media("cfr-ntsc").path, tmp_path / "other.mp4", times=None, fps="fast")


def test_what_the_container_refuses_is_told_before_the_work(film, tmp_path):
    with pytest.raises(refilm.VideoError, match=r"webm cannot hold libx264.*\.mkv"):
        smooth(film, tmp_path / "out.webm", codec="libx264", on_progress=_interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_job_killed_between_result_and_report_ends_when_called_again(media, tmp_path, monkeypatch):
    output = tmp_path / "out.mp4"
    replace_file = os.replace

    def killed(source, target):
        if str(source).endswith("copy"):
            raise KeyboardInterrupt
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        smooth(media("cfr-24").path, output)
    monkeypatch.undo()
    assert output.exists()
    assert smooth(media("cfr-24").path, output).frames_out == 47
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.mp4.json"]


def test_segments_in_which_nothing_is_shown_do_no_harm(film, tmp_path):
    report = smooth(film, tmp_path / "out.mp4", times=None, fps="0.2")
    assert report.frames_out == len(probed_times(tmp_path / "out.mp4")) == 3


def test_a_clock_that_jumps_back_loses_no_frame(tmp_path):
    once = write(tmp_path / "once.ts", replace(CLIPS["cfr-24"], suffix=".ts", audio=("eng",))).path
    source = tmp_path / "twice.ts"
    source.write_bytes(once.read_bytes() * 2)
    warnings = []
    report = smooth(source, tmp_path / "out.mp4", times=1, warn=warnings.append)
    assert report.frames_in == len(probed_times(tmp_path / "out.mp4")) == 48
    assert any("clock jumps" in warning for warning in warnings)


def test_a_folder_that_is_not_ours_is_not_emptied(media, tmp_path):
    theirs = tmp_path / "out.mp4.refilm"
    theirs.mkdir()
    (theirs / "diary.txt").write_text("precious")
    with pytest.raises(refilm.JobError, match="is not a folder of refilm's"):
        smooth(media("cfr-24").path, tmp_path / "out.mp4")
    assert (theirs / "diary.txt").read_text() == "precious"


def test_pictures_are_never_written_over_their_source(media, tmp_path):
    pictures = tmp_path / "pictures" / "%03d.png"
    smooth(media("cfr-24").path, pictures, times=1, preset=None)
    with pytest.raises(refilm.JobError, match="holds the input"):
        smooth(pictures, pictures, overwrite=True, preset=None)
    assert len(list(pictures.parent.iterdir())) == 24


def test_the_truncation_is_still_told_after_a_resume(tmp_path):
    source, warnings = BROKEN["truncated-mkv"](tmp_path), []
    with pytest.raises(KeyboardInterrupt):
        interpolate(source, tmp_path / "o.mp4", times=2, model="flow-blend", on_progress=_interrupt_at_the_end())
    smooth(source, tmp_path / "o.mp4", preset=None, warn=warnings.append)
    assert any("before its declared end" in warning for warning in warnings)


def _interrupt_at_the_end():
    def observe(progress):
        if progress.frames >= 25:
            raise KeyboardInterrupt

    return observe


def test_a_recurrent_model_begins_anew_with_each_segment_and_scene_and_after_a_stop(tmp_path):
    model, levels = RunningMean(), [40, 50, 60, 70] * 3 + [180, 190, 200, 210] * 3
    # wider than the pictures on which the need of memory is measured
    source = write_levels(tmp_path / "film.mkv", levels, size=(32, 208))

    def job(name):
        sink = VideoFile(tmp_path / name, Encoding(codec="ffv1"))
        return Job(source, sink, lambda info, tile: Restore("denoise", model), segment_frames=8)

    def stop(progress):
        if progress.frames > 10:
            raise KeyboardInterrupt

    job("whole.mkv").run()
    parts = [levels[:8], levels[8:12], levels[12:16], levels[16:]]
    assert read_levels(tmp_path / "whole.mkv") == [mean for part in parts for mean in means(part)]
    with pytest.raises(KeyboardInterrupt):
        job("parts.mkv").run(on_progress=stop)
    seen = []
    job("parts.mkv").run(on_progress=seen.append)
    assert seen[0].resumed_from == 8
    assert packets(tmp_path / "parts.mkv") == packets(tmp_path / "whole.mkv")
