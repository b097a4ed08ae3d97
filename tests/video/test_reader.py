"""What FFmpeg's end does to the one who reads through it: nothing but an error."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from media import CLIPS, flashes_and_beeps, picture, write

import refilm
from refilm.video import Bookmark, VideoReader, frames


def test_samples_begin_with_the_key_frame_before_their_place(media):
    times = media("b-frames").times  # a key frame every 12 frames
    with VideoReader(media("b-frames").path) as reader:
        for place, first in ((times[20], 12), (times[3], 0), (times[12], 12)):
            found = list(reader.near(place, 7))
            assert [frame.time for frame in found] == list(times[first : first + 7])


def test_frames_come_sample_for_sample(media):
    clip = media("bt709-tv-10-ffv1").clip
    for number, frame in enumerate(frames(media("bt709-tv-10-ffv1").path)):
        for got, wanted in zip(frame.planes, picture(number, clip.height, clip.width, clip.pix_fmt), strict=True):
            np.testing.assert_array_equal(got, wanted)
    assert number == 5


def test_frames_may_be_kept(media):
    """They are the caller's: what is read after them does not change them."""
    kept = list(frames(media("bt709-tv-8-ffv1").path))
    for number, frame in enumerate(kept):
        np.testing.assert_array_equal(frame.planes[0], picture(number, 64, 96, "yuv420p")[0])


def test_a_crash_in_the_middle_is_an_error_that_says_so(media):
    with VideoReader(media("cfr-24").path) as reader:
        read = iter(reader)
        next(read)
        os.kill(reader._process.pid, signal.SIGSEGV)
        with pytest.raises(refilm.VideoError, match=r"cfr-24.mp4: FFmpeg crashed over it \(SIGSEGV\).*-c copy"):
            list(read)


def test_a_hang_is_ended(media, monkeypatch):
    monkeypatch.setattr("refilm.video.reader.PATIENCE", 2)
    with VideoReader(media("cfr-24").path) as reader:
        read = iter(reader)
        next(read)
        os.kill(reader._process.pid, signal.SIGSTOP)
        with pytest.raises(refilm.VideoError, match=r"FFmpeg hangs over it: nothing came for 2 s after [0-9]+ packets"):
            list(read)
        assert reader._process.returncode == -signal.SIGKILL


def test_memory_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("refilm.video.reader.memory_limit", lambda: 100 << 20)
    with av.open(tmp_path / "large.mov", "w") as container:
        stream = container.add_stream("png", rate=24, width=11000, height=11000, pix_fmt="gray")
        container.mux(stream.encode(av.VideoFrame(11000, 11000, "gray")))
        container.mux(stream.encode(None))
    with pytest.raises(refilm.VideoError, match=r"large.mov: no frame .*: Cannot allocate memory"):
        refilm.probe(tmp_path / "large.mov")


@pytest.mark.parametrize(
    ("side", "message"),
    [(12000, "12000x12000 pixels, and refilm reads at most"), (30000, "no frame of its video stream can be decoded: ")],
)
def test_a_header_that_declares_too_large_a_picture_is_refused(tmp_path, side, message):
    source = write(tmp_path / "film.avi", CLIPS["rgb"]).path
    source.write_bytes(source.read_bytes().replace(struct.pack("<II", 96, 64), struct.pack("<II", side, side)))
    with pytest.raises(refilm.VideoError, match=f"film.avi: .*{message}"):
        refilm.probe(source)


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n", "\n<MPD>{}</MPD>"]
)
def test_a_playlist_is_not_followed(media, tmp_path, text):
    shutil.copy(media("cfr-24").path, tmp_path / "film.mp4")
    source = tmp_path / "innocent.mp4"
    source.write_text(text.format("film.mp4"))
    with pytest.raises(refilm.VideoError, match=r"innocent.mp4: is a playlist.*name those themselves"):
        refilm.probe(source)


def test_formats_that_name_other_files_are_not_opened_even_behind_a_disguise(media, tmp_path):
    """A comment before the magic words keeps our own check from seeing them; FFmpeg's whitelist still does."""
    shutil.copy(media("cfr-24").path, tmp_path / "film.mp4")
    source = tmp_path / "innocent.mp4"
    source.write_text("#" * 70 + "\nffconcat version 1.0\nfile film.mp4\n")
    with pytest.raises(refilm.VideoError, match="cannot be read"):
        refilm.probe(source)


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(refilm.VideoError, match="is a device or a pipe; write it to a file first"):
        refilm.probe(tmp_path / "pipe.mp4")


def test_the_reading_process_needs_no_torch():
    check = "import refilm.video.child, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_reading_process_has_not_loaded_torch_when_frames_come(media):
    with VideoReader(media("cfr-24").path) as reader:
        assert len(list(reader)) > 1
        loaded = Path(f"/proc/{reader._process.pid}/maps").read_text()
    assert "libavcodec" in loaded
    assert "torch" not in loaded


def test_the_reading_process_takes_no_module_from_the_current_folder(media, tmp_path):
    (tmp_path / "av.py").write_text("raise SystemExit('hostile')")
    check = f"import refilm; print(refilm.probe({str(media('cfr-24').path)!r}).codec)"
    command = [sys.executable, "-P", "-c", check]
    environment = os.environ | {"PYTHONPATH": str(Path(refilm.__file__).resolve().parents[1])}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.stderr, result.stdout.strip()) == ("", "h264")


def test_the_reading_process_does_not_outlive_a_killed_parent(media):
    program = f"""
import refilm.video, time
reader = refilm.video.VideoReader({str(media("cfr-24").path)!r})
print(reader._process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert _runs(child)
        parent.kill()
    for _ in range(100):
        if not _runs(child):
            break
        time.sleep(0.05)
    assert not _runs(child)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".avi", ".h264"])
def test_reading_goes_on_from_a_bookmark_with_the_same_frames_and_times(tmp_path, suffix):
    """Most pictures are alike, a joined file has each time twice, and others have none."""
    path = tmp_path / f"film{suffix}"
    sound = ("-an",) if suffix == ".h264" else ("-c:a", "mp2")
    flashes_and_beeps(path, 2, "-c:v", "libx264", "-bf", "2", "-g", "10", *sound)
    if suffix == ".ts":
        path.write_bytes(2 * path.read_bytes())
    with VideoReader(path) as reader:
        whole = [(Bookmark.of(frame, number), frame.duration) for number, frame in enumerate(reader)]
    assert len(whole) == (100 if suffix == ".ts" else 50)
    for begin in (12, len(whole) - 20):
        with VideoReader(path) as reader:
            frames = list(reader.resume_at(whole[begin][0]))
        assert [(Bookmark.of(f, n), f.duration) for n, f in enumerate(frames, start=begin)] == whole[begin:]
