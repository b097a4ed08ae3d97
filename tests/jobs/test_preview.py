"""A preview is a short part under a name of its own, with a picture, and says what the whole would take."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import CLIPS, even, frame_hashes, picture, probed_times, write

import refilm
from refilm.errors import UsageError
from refilm.jobs.preview import preview_path
from refilm.options import Running


@pytest.fixture
def film(tmp_path):
    """Ten seconds at 24 frames a second."""
    return write(tmp_path / "film.mp4", replace(CLIPS["b-frames"], times=even(240, 24), audio=("eng",))).path


def preview(source, output, seconds=1, **options):
    chosen = {"times": 2, "model": "flow-blend", "preset": "ultrafast", "crf": 0} | options
    return refilm.interpolate(source, output, preview=seconds, **chosen)


def test_a_preview_is_from_the_middle_and_leaves_the_name_of_the_whole_free(film, tmp_path):
    report = preview(film, tmp_path / "out.mkv")
    made = tmp_path / "out.preview.mkv"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "film.mp4", "out.preview.mkv", "out.preview.mkv.json", "out.preview.png",
    ]  # fmt: skip
    assert (report.frames_in, report.frames_out) == (24, 47)
    assert frame_hashes(made)[::2] == frame_hashes(film)[108:132]
    assert report.whole.frames == 240
    assert report.whole.megabytes == pytest.approx(10 * made.stat().st_size / 1e6, abs=0.1)
    assert report.whole.seconds > 0
    assert json.loads((tmp_path / "out.preview.mkv.json").read_text())["whole"]["picture"] == report.whole.picture


def test_the_picture_shows_both_at_the_same_size_under_their_names(film, tmp_path):
    report = preview(film, tmp_path / "out.mp4", times=1, from_time=2)
    shown = cv2.imread(report.whole.picture)
    height, width = 64, 96
    assert shown.shape == (height + 24, 2 * width, 3)
    left, right = shown[24:, :width].astype(int), shown[24:, width:].astype(int)
    assert np.abs(left - right).max() <= 1, "nothing was changed"
    luma = picture(48 + 12, height, width, "yuv420p")[0]
    gray = cv2.cvtColor(left.astype(np.uint8), cv2.COLOR_BGR2GRAY)
    assert np.corrcoef(gray[4:].ravel(), luma[4:].ravel())[0, 1] > 0.95, "it is the frame in the middle"
    assert (shown[:24] < 128).any()


def test_a_preview_replaces_an_earlier_one_and_nothing_else(film, tmp_path):
    preview(film, tmp_path / "out.mp4", from_time=1)
    preview(film, tmp_path / "out.mp4", 0.5, from_time="0:02")
    assert probed_times(tmp_path / "out.preview.mp4")[-1] == Fraction(22, 48)
    (tmp_path / "other.preview.png").write_text("precious")
    with pytest.raises(refilm.JobError, match=r"other\.preview\.png: exists, and is no preview's"):
        preview(film, tmp_path / "other.mp4")
    (tmp_path / "third.preview.mp4").write_text("precious")
    with pytest.raises(refilm.JobError, match=r"third\.preview\.mp4: exists"):
        preview(film, tmp_path / "third.mp4")


def test_a_film_shorter_than_the_preview_is_made_whole(media, tmp_path):
    report = preview(media("cfr-24").path, tmp_path / "out.mp4", 60)
    assert report.frames_in == report.whole.frames == 24


def test_pictures_have_previews_in_a_folder_of_their_own(film, tmp_path):
    report = preview(film, tmp_path / "frames" / "%04d.png", crf=None, preset=None)
    assert len(list((tmp_path / "frames.preview").glob("*.png"))) == report.frames_out == 47
    assert (tmp_path / "frames.preview.png").exists()
    assert preview_path(Path("a/b.c.mkv")) == Path("a/b.c.preview.mkv")


@pytest.mark.parametrize("options", [{"preview": 0}, {"preview": 5, "to_time": 9}, {"preview": "many"}])
def test_a_preview_is_a_number_of_seconds(options):
    with pytest.raises(UsageError, match=r"--preview is a number of seconds|wanted a time such as"):
        Running(**options)
