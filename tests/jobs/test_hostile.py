"""Hostile names, and what a damaged source loses: told once, however often the job was stopped."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import av.error
import pytest
import torture
from media import CLIPS, even, write

import refilm
from refilm.cli.main import run
from refilm.jobs.placing import report_path, work_folder
from refilm.jobs.report import Report
from refilm.video.carriers import Copied
from refilm.video.copying import copied_packets

NAMES = {
    "quotes": 'it\'s a "film"',
    "spaces": "  a  film ",
    "shell": "a;$(touch hacked)`touch hacked`&|>x",
    "newline": "two\nlines",
    "dash": "-i",
    "protocol": "http:x",
    "pattern": "50%d off %s",
    "255 bytes": "é" * 125 + "a",
    "not UTF-8": os.fsdecode(b"\xff\xfe film \x80"),
    "emoji": "\U0001f3ac",
}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(media, tmp_path, monkeypatch, name):
    """Relative names at that, which may look like something else."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("out").mkdir()
    source, output = Path("in") / f"{NAMES[name]}.mp4", Path("out") / f"{NAMES[name]}.mkv"
    shutil.copy(media("one-frame").path, source)
    assert torture.run_job(source, output).frames_out == 1
    assert len(torture.packets(output)) == 1
    assert sorted(Path("out").iterdir()) == sorted([output, report_path(output)])
    assert Report.from_json(report_path(output).read_text()).source == str(source)
    monkeypatch.chdir("in")
    assert torture.run_job(Path(source.name), Path(output.name)).frames_out == 1


def test_long_names_of_different_outputs_stay_different(tmp_path):
    outputs = [tmp_path / f"{'a' * 250}{end}.mkv" for end in "xy"]
    names = [path(output).name for path in (work_folder, report_path) for output in outputs]
    assert len(set(names)) == 4
    assert max(map(len, names)) == 255


def test_the_command_prints_names_that_are_no_text(media, tmp_path, capsys):
    source = tmp_path / os.fsdecode(b"\xff film.mp4")
    shutil.copy(media("one-frame").path, source)
    assert run(["probe", str(source)]) == 0
    assert "film.mp4" in capsys.readouterr().out.replace("\n", "")


@pytest.fixture
def damaged(tmp_path):
    """Ten key frames of forty, with two of the packets in between overwritten."""
    options = {"preset": "ultrafast", "x264-params": "keyint=4:scenecut=0"}
    path = write(
        tmp_path / "film.mkv", replace(CLIPS["cfr-24"], suffix=".mkv", times=even(40, 24), options=options)
    ).path
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        payloads = [bytes(packet) for packet in container.demux(container.streams.video[0])]
    for number in (5, 18):
        place = data.index(payloads[number])
        data[place : place + len(payloads[number])] = bytes(len(payloads[number]))
    path.write_bytes(data)
    return path


def test_losses_are_told_once_however_often_the_job_was_stopped(damaged, tmp_path):
    whole = torture.run_job(damaged, tmp_path / "undisturbed.mkv")
    assert any("2 damaged packets" in warning for warning in whole.warnings), whole.warnings

    def stop_after(frames):
        def observe(progress):
            if progress.frames >= frames:
                raise KeyboardInterrupt

        return observe

    for frames in (6, 7, 13, 20, 30):
        with pytest.raises(KeyboardInterrupt):
            torture.run_job(damaged, tmp_path / "out.mkv", stop_after(frames))
    report = torture.run_job(damaged, tmp_path / "out.mkv")
    assert report.warnings == whole.warnings
    assert report.frames_in == whole.frames_in


def test_sound_that_ends_early_is_told(tmp_path):
    """The index of the MP4 comes first and is whole, and the file ends before the sound does."""
    clip = replace(CLIPS["cfr-24"], audio=("eng",), times=even(48, 24), muxer={"movflags": "faststart"})
    source = write(tmp_path / "film.mp4", clip).path
    assert torture.run_job(source, tmp_path / "whole.mkv").warnings == []
    source.write_bytes(source.read_bytes()[:-12000])
    warnings = torture.run_job(source, tmp_path / "out.mkv").warnings
    assert any(re.search(r"stream 1 audio aac eng ends \d\.\d\d s before its declared end", w) for w in warnings), (
        warnings
    )


def test_a_source_in_which_reading_sound_fails_is_told_to_end_there(media):
    with av.open(str(media("companions").path)) as container:
        sound = container.streams.audio[0]

        class Damaged:
            streams, format = container.streams, container.format

            def demux(self):
                yield from itertools.islice((p for p in container.demux(sound) if p.dts is not None), 20)
                raise av.error.InvalidDataError(errno.EINVAL, "Invalid data found")

        said = []
        carriers = {sound.index: Copied(sound)}
        assert len(list(copied_packets(Damaged(), carriers, "matroska", None, said.append))) == 20
    assert re.match(r"the source is damaged at 0\.\d\d s \(Invalid data found\): its audio end there", said[0])


def test_a_crash_leaves_what_is_done_and_the_next_run_goes_on(tmp_path):
    clip = replace(CLIPS["b-frames"], times=even(40, 24))
    source = write(tmp_path / "film.mp4", clip).path
    torture.run_job(source, tmp_path / "undisturbed.mkv")
    crashed = []

    def crash(progress):
        if progress.frames >= 9 and not crashed:
            crashed.append(True)
            for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
                os.kill(int(child), 11)

    with pytest.raises(refilm.VideoError, match="FFmpeg crashed"):
        torture.run_job(source, tmp_path / "out.mkv", crash)
    assert not (tmp_path / "out.mkv").exists()
    done = len(list((tmp_path / "out.mkv.refilm").glob("*.piece")))
    assert done >= 2
    seen = []
    torture.run_job(source, tmp_path / "out.mkv", seen.append)
    assert seen[0].resumed_from == 4 * done
    assert torture.packets(tmp_path / "out.mkv") == torture.packets(tmp_path / "undisturbed.mkv")
