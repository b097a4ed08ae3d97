"""Jobs from standard input and to standard output: the same frames as from file to file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from media import CLIPS, even, ffprobe, frame_hashes, probed_times, tool, write

import refilm

ROOT = Path(__file__).parents[2]
LOSSLESS = {"codec": "ffv1"}


@contextmanager
def piped_in(path: Path) -> Iterator[None]:
    """The content of a file comes through a pipe on standard input."""
    kept = os.dup(0)
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        os.dup2(cat.stdout.fileno(), 0)
        cat.stdout.close()
        try:
            yield
        finally:
            os.dup2(kept, 0)
            os.close(kept)


def y4m(folder: Path, pix_fmt: str = "yuv420p", *options: str) -> Path:
    path = folder / f"{pix_fmt}.y4m"
    source = "testsrc2=size=96x64:rate=30000/1001:duration=0.3"
    tool(
        *("ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", pix_fmt, *options),
        *("-strict", "-1", "-f", "yuv4mpegpipe", str(path)),
    )
    return path


def stream_of(path: Path) -> dict[str, str]:
    return ffprobe(path, "-select_streams", "v", "-show_streams")["streams"][0]


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv420p10le", "yuv444p16le", "gray", "gray10le"]
)
def test_a_pipe_at_both_ends_gives_what_files_give(restorers, tmp_path, capfdbinary, pix_fmt):
    source, output = y4m(tmp_path, pix_fmt, "-vf", "setsar=4/3"), tmp_path / "out.y4m"
    with piped_in(source):
        report = refilm.denoise("-", "-", 100)
    output.write_bytes(capfdbinary.readouterr().out)
    refilm.denoise(source, tmp_path / "out.mkv", 100, **LOSSLESS)
    assert frame_hashes(output) == frame_hashes(tmp_path / "out.mkv")
    ours, theirs = stream_of(output), stream_of(source)
    names = ("width", "height", "pix_fmt", "r_frame_rate", "sample_aspect_ratio")
    assert [ours[name] for name in names] == [theirs[name] for name in names]
    assert (report.frames_in, report.frames_restored) == (9, 9)


def test_full_range_is_said(restorers, tmp_path, capfdbinary):
    source, output = y4m(tmp_path, "yuv444p", "-vf", "scale=out_range=full", "-color_range", "pc"), tmp_path / "out.y4m"
    with piped_in(source):
        refilm.denoise("-", "-")
    output.write_bytes(capfdbinary.readouterr().out)
    assert stream_of(source)["color_range"] == stream_of(output)["color_range"] == "pc"


def test_new_frames_come_at_the_new_rate(tmp_path, capfdbinary):
    source = y4m(tmp_path)
    for keywords, rate, frames in (({"times": 3}, "90000/1001", 25), ({"fps": 60}, "60/1", 19)):
        refilm.interpolate(source, "-", model="flow-blend", **keywords)
        output = tmp_path / "out.y4m"
        output.write_bytes(capfdbinary.readouterr().out)
        assert stream_of(output)["r_frame_rate"] == rate
        assert len(probed_times(output)) == frames


def test_rgb_becomes_444(restorers, media, tmp_path, capfdbinary):
    refilm.upscale(media("rgb").path, "-")
    output = tmp_path / "out.y4m"
    output.write_bytes(capfdbinary.readouterr().out)
    assert stream_of(output)["pix_fmt"] == "yuv444p"


def test_a_pipe_into_a_file_gives_what_a_file_gives(restorers, tmp_path):
    source = y4m(tmp_path)
    with piped_in(source):
        report = refilm.denoise("-", tmp_path / "piped.mkv", strength=1, **LOSSLESS)
    refilm.denoise(source, tmp_path / "named.mkv", strength=1, **LOSSLESS)
    assert frame_hashes(tmp_path / "piped.mkv") == frame_hashes(tmp_path / "named.mkv")
    assert probed_times(tmp_path / "piped.mkv") == probed_times(tmp_path / "named.mkv")
    assert report.frames_restored == 9
    assert not (tmp_path / "piped.mkv.refilm").exists()


def test_sound_in_a_pipe_is_not_lost_without_consent(restorers, media, tmp_path):
    source, output, told = media("companions-mkv").path, tmp_path / "out.mkv", []
    with piped_in(source), pytest.raises(refilm.VideoError, match=r"audio .* carried over from files only.*--drop-st"):
        refilm.denoise("-", output)
    assert list(tmp_path.iterdir()) == []
    with piped_in(source):
        refilm.denoise("-", output, drop_streams=True, warn=told.append)
    assert len(probed_times(output)) == 48
    assert any("left out" in message for message in told)


def test_a_failure_leaves_nothing(restorers, tmp_path):
    source = y4m(tmp_path)
    folder = tmp_path / "outputs"
    folder.mkdir()

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with piped_in(source), pytest.raises(KeyboardInterrupt):
        refilm.denoise("-", folder / "out.mkv", on_progress=stop)
    assert list(folder.iterdir()) == []


def test_an_unfinished_job_from_another_pipe_is_not_continued(restorers, tmp_path, monkeypatch):
    source = write(tmp_path / "film.mkv", replace(CLIPS["cfr-24"], times=even(80, 24))).path
    output = tmp_path / "out.mkv"

    def stop(progress: refilm.api.Progress) -> None:
        if progress.frames > 70:
            raise KeyboardInterrupt

    with monkeypatch.context() as killed, piped_in(source):
        killed.setattr("refilm.jobs.work_folder.WorkFolder.remove", lambda self: None)  # as if it had been killed
        with pytest.raises(KeyboardInterrupt):
            refilm.denoise("-", output, on_progress=stop)
    monkeypatch.setattr("refilm.jobs.source._THIS_PROCESS", "another")
    with piped_in(source), pytest.raises(refilm.JobError, match=r"unfinished job with other settings: .*--restart"):
        refilm.denoise("-", output)
    with piped_in(source):
        assert refilm.denoise("-", output, restart=True).frames_restored == 80


def test_uneven_times_are_brought_to_one_rate_with_a_word(restorers, media, tmp_path, capfdbinary):
    told: list[str] = []
    clip = replace(CLIPS["cfr-24"], times=(*even(6, 24), *(Fraction(1) + time for time in even(6, 24))))
    source = write(tmp_path / "gap.mkv", clip).path
    refilm.denoise(source, "-", warn=told.append)
    output = tmp_path / "out.y4m"
    output.write_bytes(capfdbinary.readouterr().out)
    assert len(probed_times(output)) == 30
    assert any("y4m has one rate: 18 frames were repeated and 0 left out" in message for message in told)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"crf": 3}, "uncompressed video .y4m.; leave out --crf"),
        ({"codec": "ffv1"}, "leave out --codec"),
        ({"pix_fmt": "gbrp"}, "y4m has no gbrp; take --pix-fmt yuv444p"),
    ],
)
def test_what_y4m_cannot_do_is_told_before_anything_is_written(restorers, tmp_path, capfdbinary, keywords, message):
    source = y4m(tmp_path)
    with pytest.raises(refilm.errors.UsageError, match=message):
        refilm.denoise(source, "-", **keywords)
    assert capfdbinary.readouterr().out == b""


def test_the_end_of_the_reader_is_the_end_of_the_command(tmp_path):
    source = write(tmp_path / "film.mkv", replace(CLIPS["cfr-24"], times=even(80, 24))).path
    command = f"{sys.executable} -m restorers denoise {source} - | head -c 1000 | wc -c"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1000"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
