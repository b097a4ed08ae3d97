"""Which files a command with many inputs works on, and under which names."""

from __future__ import annotations

from pathlib import Path

import pytest

from refilm.errors import JobError, UsageError, VideoError
from refilm.jobs.batch import plan


def touch(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return [folder / name for name in names]


def test_files_folders_patterns_and_sequences_become_outputs_of_their_names(tmp_path):
    out = tmp_path / "out"
    touch(tmp_path / "day", "b.mkv", "a.MP4", "notes.txt", ".hidden")
    touch(tmp_path, "one.avi", "two.webm", "50%.mp4", "clip[1].mov")
    inputs = [tmp_path / name for name in ("one.avi", "day", "t*.webm", "50%.mp4", "clip[1].mov", "frames/%04d.png")]
    assert plan(inputs, out, None) == [
        (tmp_path / "one.avi", out / "one.mkv"),
        (tmp_path / "day" / "a.MP4", out / "a.MP4"),
        (tmp_path / "day" / "b.mkv", out / "b.mkv"),
        (tmp_path / "two.webm", out / "two.webm"),
        (tmp_path / "50%.mp4", out / "50%.mp4"),
        (tmp_path / "clip[1].mov", out / "clip[1].mov"),
        (tmp_path / "frames" / "%04d.png", out / "frames.mkv"),
    ]
    assert {output.suffix for _, output in plan(inputs, out, ".mov")} == {".mov"}


def test_a_folder_without_videos_gives_its_pictures_each_on_its_own(tmp_path):
    out, folder = tmp_path / "out", tmp_path / "photos"
    touch(folder, "b.png", "a.JPG", "c.webp", "notes.txt")
    assert plan([folder], out, None) == [
        (folder / "a.JPG", out / "a.JPG"),
        (folder / "b.png", out / "b.png"),
        (folder / "c.webp", out / "c.png"),
    ]
    assert {output.suffix for _, output in plan([folder], out, ".tiff")} == {".tiff"}
    touch(folder, "film.mp4")
    assert plan([folder], out, None) == [(folder / "film.mp4", out / "film.mp4")], "the pictures may be its covers"


def test_an_input_named_twice_is_taken_once(tmp_path):
    (file,) = touch(tmp_path / "day", "a.mp4")
    assert plan([file, tmp_path / "day", tmp_path / "day" / "*.mp4"], tmp_path, None) == [(file, tmp_path / "a.mp4")]


@pytest.mark.parametrize(
    ("inputs", "suffix", "error", "message"),
    [
        (["day/a.avi", "day/a.mkv"], None, UsageError, r"a\.avi and .*a\.mkv would both become .*out/a\.mkv"),
        (["night/*.mp4"], None, VideoError, "no such file: nothing matches this pattern"),
        (["empty"], None, VideoError, r"holds no video file and no picture \(looked for .*\.mp4"),
        (["day/a.mkv"], ".avi", UsageError, r"--suffix must be one of .*\.mkv.*, got '\.avi'"),
        (["out/b.mp4"], None, JobError, r"holds the input b\.mp4; choose another --output-dir"),
        ([], None, UsageError, "at least one input"),
    ],
)
def test_what_cannot_be_planned_is_told_up_front(tmp_path, inputs, suffix, error, message):
    touch(tmp_path / "day", "a.avi", "a.mkv")
    touch(tmp_path / "out", "b.mp4")
    touch(tmp_path / "empty", "notes.txt")
    with pytest.raises(error, match=message):
        plan([tmp_path / name for name in inputs], tmp_path / "out", suffix)
