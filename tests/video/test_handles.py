"""Frames from open files, pipes and bytes."""

from __future__ import annotations

import io
import subprocess

import pytest

import refilm


def times_and_samples(source):
    return [(frame.time, [plane.tobytes() for plane in frame.planes]) for frame in refilm.open(source)]


def test_open_files_bytes_and_pipes_give_the_frames_of_the_file(media):
    path = media("b-frames").path
    wanted = times_and_samples(path)
    with path.open("rb") as file:
        assert times_and_samples(file) == wanted
    with path.open("rb", buffering=0) as file:
        assert times_and_samples(file) == wanted
    assert times_and_samples(io.BytesIO(path.read_bytes())) == wanted


def test_a_pipe_is_read_from_front_to_back(media):
    path = media("cfr-24").path.with_suffix(".mkv")
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", media("cfr-24").path, "-c", "copy", path], check=True)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
        assert times_and_samples(cat.stdout) == times_and_samples(path)


def test_reading_begins_where_the_file_stands(media, tmp_path):
    path, packed = media("cfr-24").path, tmp_path / "packed"
    packed.write_bytes(b"header" + path.read_bytes())
    with packed.open("rb") as file:
        file.seek(6)
        assert times_and_samples(file) == times_and_samples(path)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (io.BytesIO(), refilm.VideoError, "BytesIO: nothing is left to read in it; move to its beginning first"),
        (io.BytesIO(b"junk"), refilm.VideoError, "BytesIO: cannot be read.*not a video file"),
        (io.StringIO("text"), TypeError, "StringIO: gives text, not bytes; open it in binary mode"),
        (7, TypeError, "wanted a path, or a file opened in binary mode, got int"),
    ],
)
def test_what_is_no_file_of_bytes_is_told(source, error, message):
    with pytest.raises(error, match=message):
        next(refilm.open(source))
