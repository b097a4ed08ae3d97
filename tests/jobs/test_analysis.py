"""What a film is seen to have, what is proposed for it, and that `enhance` does just that with auto."""

from __future__ import annotations

import shlex
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from media import CLIPS, even, on_twos, pulled_down, write

import refilm
from refilm.cli import main
from refilm.errors import VideoError
from refilm.jobs import analysis
from refilm.jobs.analysis import Analysis
from refilm.stages import damage

CLEAN, DAMAGED = damage.Damage(0.3, 0.6), damage.Damage(3.0, 1.0)


def film(folder, **changes):
    return write(folder / "in it.mp4", replace(CLIPS["cfr-24"], **changes)).path


@pytest.fixture
def seen(monkeypatch):
    """seen(damage): makes pictures look as if they had this damage."""

    def put(found):
        monkeypatch.setattr(damage, "find_damage", lambda picture, before=None: found)

    return put


@pytest.fixture
def large(monkeypatch):
    """Lets the small films of these tests count as large, so that they are not proposed to be enlarged."""
    monkeypatch.setattr(analysis, "_SMALL", 32)


@pytest.fixture
def no_speed(monkeypatch):
    monkeypatch.setattr("refilm.api.stage_seconds", lambda stages, info: 0.5)


def test_noise_and_compression_are_proposed_to_be_removed_with_reasons_and_time(
    tmp_path, large, seen, restorers, no_speed
):
    seen(DAMAGED)
    found = refilm.analyse(film(tmp_path))
    assert found.wanted == {"denoise": True, "deblock": True}
    assert found.reasons.keys() == found.wanted.keys()
    assert "3.0 of 255" in found.reasons["denoise"]
    assert "100%" in found.reasons["deblock"]
    assert (found.frames, found.seconds) == (24, 12.0)
    assert shlex.split(found.command(tmp_path / "out.mkv")) == [
        *("refilm", "enhance", str(tmp_path / "in it.mp4"), str(tmp_path / "out.mkv"), "--denoise", "--deblock")
    ]


def test_smoother_motion_is_an_option_and_not_proposed(tmp_path, large, seen):
    seen(CLEAN)
    found = refilm.analyse(film(tmp_path))
    assert (found.wanted, found.optional, found.first) == ({}, {"times": 2}, None)
    found = refilm.analyse(film(tmp_path, times=even(24, 60), last=Fraction(1, 60)))
    assert found.optional == {}
    found = refilm.analyse(film(tmp_path, pictures=on_twos(24)))
    assert found.optional == {"times": 2, "drop_repeats": True}
    found = refilm.analyse(film(tmp_path, pictures=((0, 0),) * 24))
    assert (found.moving, found.optional) == (0, {})


@pytest.mark.parametrize(
    ("size", "factor"), [((96, 64), 4), ((480, 360), 3), ((720, 576), 2), ((360, 480), 3), ((2400, 64), None)]
)
def test_a_small_film_is_proposed_to_be_enlarged_to_about_1080_lines(tmp_path, seen, no_speed, size, factor):
    seen(CLEAN)
    found = refilm.analyse(film(tmp_path, width=size[0], height=size[1], times=even(2, 24)))
    assert found.wanted.get("upscale") == factor


def test_a_film_that_is_not_whole_pictures_is_to_be_mended_first(tmp_path, seen, media, no_speed):
    seen(DAMAGED)
    ntsc = Fraction(30000, 1001)
    plain = {"width": 192, "height": 128, "options": CLIPS["cfr-24"].options | {"qp": "10"}}
    telecined = film(tmp_path, times=even(30, ntsc), last=1 / ntsc, pictures=pulled_down(30), **plain)
    for source, way_out in ((telecined, "fieldmatch,decimate"), (media("interlaced").path, "bwdif")):
        found = refilm.analyse(source)
        assert way_out in found.first
        assert found.wanted == {}
        with pytest.raises(VideoError, match=way_out):
            refilm.enhance(source, tmp_path / "out.mkv", auto=True)
        assert not (tmp_path / "out.mkv").exists()
    assert refilm.analyse(telecined, force=True).wanted.keys() >= {"denoise", "deblock"}


def test_auto_does_what_is_proposed(tmp_path, large, seen, restorers, no_speed):
    seen(DAMAGED)
    source, told = film(tmp_path, times=even(3, 24)), []
    report = refilm.enhance(source, tmp_path / "auto.mkv", auto=True, on_analysis=told.append)
    assert report.settings.keys() & {"denoise", "deblock", "upscale", "interpolate"} == {"denoise", "deblock"}
    assert [found.wanted for found in told] == [{"denoise": True, "deblock": True}]


def test_auto_writes_nothing_for_a_clean_film(tmp_path, large, seen, capsys):
    seen(CLEAN)
    source = film(tmp_path)
    assert refilm.enhance(source, tmp_path / "out.mkv", auto=True) is None
    assert main.run(["enhance", str(source), str(tmp_path / "out.mkv"), "--auto"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]


def test_real_noise_is_found_and_clean_pictures_are_left(tmp_path):
    draw = np.random.default_rng(0)
    smooth = np.linspace(60, 180, 320)[None] + np.linspace(0, 30, 240)[:, None]
    clean, noisy = analysis._Seen(), analysis._Seen()
    info = refilm.probe(film(tmp_path, width=320, height=240, times=even(2, 24)))
    for seen_here, sigma in ((clean, 0.0), (noisy, 4.0)):
        for _ in range(3):
            planes = tuple(
                (np.full(shape, 128.0) if k else smooth + draw.normal(0, sigma, shape)).round().astype(np.uint8)
                for k, shape in enumerate(info.format.plane_shapes(240, 320))
            )
            seen_here.add([refilm.video.Frame(planes, info.format, info.colour, Fraction(0), Fraction(1, 24))])
    assert "denoise" not in analysis._proposal(clean, info, force=False)["wanted"]
    assert "denoise" in analysis._proposal(noisy, info, force=False)["wanted"]
    assert noisy.analysis(info).noise == pytest.approx(4.0, rel=0.3)


def test_a_long_film_is_looked_at_all_over(tmp_path, seen, monkeypatch):
    seen(CLEAN)
    monkeypatch.setattr(analysis, "_READ", 40)
    options = CLIPS["b-frames"].options
    times = even(240, 24)
    for suffix in (".mp4", ".mkv"):
        source = write(
            tmp_path / f"long{suffix}", replace(CLIPS["cfr-24"], options=options, times=times, suffix=suffix)
        )
        with refilm.video.VideoReader(source.path) as reader:
            begins = [next(iter(run)).time for run in _whole(analysis._sought_runs(reader, reader.info))]
        assert len(begins) == 10
        assert begins[0] < 1
        assert begins[-1] > 9
        found = refilm.analyse(source.path)
        assert (found.places, found.frames_seen) == (10, 120)


def _whole(runs):
    return (list(run) for run in runs)


def test_a_film_without_an_index_is_looked_at_from_its_beginning(seen, media):
    seen(CLEAN)
    found = refilm.analyse(media("live-mkv").path)
    assert (found.frames, found.seconds) == (None, None)
    assert found.places == 1
    assert isinstance(found, Analysis)


def test_a_single_picture_gets_a_proposal_without_motion(media, tmp_path, no_speed, seen):
    import cv2

    seen(CLEAN)
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 96, 3), 128, np.uint8))
    found = refilm.analyse(tmp_path / "a.png")
    assert (found.wanted, found.optional, found.places) == ({"upscale": 4}, {}, 1)


def test_standard_input_is_refused_since_it_can_be_read_only_once():
    with pytest.raises(refilm.errors.UsageError, match="standard input"):
        refilm.analyse("-")
