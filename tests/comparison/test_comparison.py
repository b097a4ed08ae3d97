"""`refilm compare` against FFmpeg's own filters, and its account of frames that only one video has."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from media import BROKEN, CLIPS, even, picture, tool, video_frame, write

import refilm
from refilm.cli.main import run
from refilm.comparison.comparison import compare
from refilm.video.vmaf import program


def degraded(tmp_path, **changes):
    """A lossless clip of gray noise on the picture, and the same with other noise."""
    clip = replace(CLIPS["gray"], **changes)
    names = (tmp_path / "a.mkv", tmp_path / "b.mkv")
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        with av.open(str(name), "w") as output:
            stream = output.add_stream("ffv1", rate=24, width=clip.width, height=clip.height, pix_fmt=clip.pix_fmt)
            for number in range(len(clip.times)):
                planes = picture(number, clip.height, clip.width, clip.pix_fmt)
                top = (1 << av.VideoFormat(clip.pix_fmt).components[0].bits) - 1
                noisy = [plane + rng.normal(0, top / 25, plane.shape) for plane in planes]
                frame = video_frame([n.clip(0, top).astype(planes[0].dtype) for n in noisy], clip.pix_fmt)
                frame.pts, frame.time_base = number, Fraction(1, 24)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return names


def verdict(a, b, metric):
    """FFmpeg's figures, by plane, in lower case: {"y": 30.1, ..., "average": 31.2}"""
    command = ["ffmpeg", "-v", "info", "-i", str(a), "-i", str(b), "-lavfi", f"[0:v][1:v]{metric}", "-f", "null", "-"]
    tool("ffmpeg", "-version")  # skips the test where there is none
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    line = next(line for line in said.splitlines() if f"Parsed_{metric}" in line)
    return {key.lower(): float(value) for key, value in re.findall(r"(\w+):(\S+)", line)}


FORMATS = {
    "8-bit": {"pix_fmt": "yuv420p"},
    "10-bit": {"pix_fmt": "yuv420p10le"},
    "12-bit, 4:2:2": {"pix_fmt": "yuv422p12le"},
    "odd size": {"pix_fmt": "yuv420p", "width": 97, "height": 55},
    "4:4:4, odd size": {"pix_fmt": "yuv444p", "width": 53, "height": 35},
    "gray": {"pix_fmt": "gray"},
    "RGB": {"pix_fmt": "gbrp10le"},
}


@pytest.mark.parametrize("kind", FORMATS)
def test_psnr_and_ssim_are_ffmpegs(tmp_path, kind):
    a, b = degraded(tmp_path, times=even(5, 24), **FORMATS[kind])
    found = compare(a, b)
    assert (found.matched, found.identical, found.compared_as) == (5, 0, FORMATS[kind]["pix_fmt"])
    for ours, theirs in ((found.psnr_db, verdict(a, b, "psnr")), (found.ssim, verdict(a, b, "ssim"))):
        assert ours == {name: pytest.approx(theirs[name], abs=0.01 if ours is found.psnr_db else 1e-3) for name in ours}
        assert len(ours) == (2 if kind == "gray" else 4)


try:
    FFMPEG_WITH_VMAF = program()
except refilm.UsageError:
    FFMPEG_WITH_VMAF = None
needs_vmaf = pytest.mark.skipif(FFMPEG_WITH_VMAF is None, reason="no FFmpeg here is built with libvmaf")


def verdict_by_vmaf(a, b, folder, change="null"):
    """FFmpeg's mean VMAF of b against a, after a filter for both."""
    graph = f"[0:v]{change}[b];[1:v]{change}[a];[b][a]libvmaf=log_fmt=json:log_path=vmaf.json"
    command = [FFMPEG_WITH_VMAF, "-v", "error", "-i", b, "-i", a, "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(command, check=True, cwd=folder)
    return json.loads((folder / "vmaf.json").read_text())["pooled_metrics"]["vmaf"]["mean"]


@needs_vmaf
@pytest.mark.parametrize("kind", ["8-bit", "10-bit", "12-bit, 4:2:2", "odd size"])
def test_vmaf_is_ffmpegs(tmp_path, kind):
    a, b = degraded(tmp_path, times=even(5, 24), **{**FORMATS[kind], "width": 161 if kind == "odd size" else 160})
    assert compare(a, b, vmaf=True).vmaf == pytest.approx(verdict_by_vmaf(a, b, tmp_path), abs=0.01)
    assert compare(a, b).vmaf is None


@needs_vmaf
def test_vmaf_of_rgb_is_that_of_its_luma(tmp_path):
    a, b = degraded(tmp_path, times=even(3, 24), pix_fmt="gbrp10le", width=160)
    luma = "scale=out_color_matrix=bt709:out_range=tv,format=yuv444p10le"
    assert compare(a, b, vmaf=True).vmaf == pytest.approx(verdict_by_vmaf(a, b, tmp_path, luma), abs=0.2)


def test_where_no_ffmpeg_has_vmaf_this_is_said_with_the_way_out(media, monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("refilm.video.vmaf._of_package", lambda: None)
    program.cache_clear()
    paths = [str(media("cfr-24").path), str(media("b-frames").path)]
    assert run(["compare", *paths, "--vmaf"]) == 2
    assert "VMAF needs an FFmpeg that is built with libvmaf" in " ".join(capsys.readouterr().err.split())
    program.cache_clear()


def test_per_frame_figures_are_ffmpegs_too(tmp_path):
    a, b = degraded(tmp_path, times=even(5, 24), pix_fmt="yuv420p")
    compare(a, b, tmp_path / "pictures")
    stats = tmp_path / "stats"
    tool("ffmpeg", "-v", "error", "-i", str(a), "-i", str(b), "-lavfi", f"psnr=stats_file={stats}", "-f", "null", "-")
    theirs = [float(value) for value in re.findall(r"psnr_avg:(\S+)", stats.read_text())]
    header, *rows = [line.split(",") for line in (tmp_path / "pictures" / "frames.csv").read_text().splitlines()]
    assert [float(row[header.index("psnr_all")]) for row in rows] == pytest.approx(theirs, abs=0.01)


def test_a_video_against_itself_is_identical(media):
    found = compare(media("vfr").path, media("vfr").path)
    assert found.matched == found.identical == 30
    assert set(found.psnr_db.values()) == {None}
    assert set(found.ssim.values()) == {1.0}
    assert found.worst_psnr_db is None
    assert json.loads(found.to_json())["psnr_db"]["average"] is None


def test_original_frames_are_found_among_new_ones_by_their_times(media, tmp_path):
    output = tmp_path / "out.mkv"
    refilm.interpolate(media("vfr").path, output, times=3, model="flow-blend", codec="ffv1")
    found = compare(media("vfr").path, output)
    assert found.matched == found.identical == found.a.frames == 30
    assert (found.a.unmatched, found.b.unmatched) == (0, 58)
    assert len(found.b.unmatched_times) == 5


def test_frames_that_one_video_lacks_are_counted_and_named(tmp_path):
    times = even(12, 24)
    whole = write(tmp_path / "whole.mp4", replace(CLIPS["cfr-24"], times=times)).path
    holed = write(tmp_path / "holed.mp4", replace(CLIPS["cfr-24"], times=(*times[:4], *times[6:10]))).path
    found = compare(whole, holed)
    assert (found.matched, found.a.unmatched, found.b.unmatched) == (8, 4, 0)
    assert found.a.unmatched_times == pytest.approx([4 / 24, 5 / 24, 10 / 24, 11 / 24])


def test_clocks_of_another_fineness_meet(media):
    found = compare(media("cfr-24").path, media("b-frames-mkv").path)
    assert (found.matched, found.a.unmatched, found.b.unmatched) == (24, 0, 0)


def test_another_beginning_is_told_and_can_be_set_aside(tmp_path, media):
    late = write(tmp_path / "late.mp4", replace(CLIPS["cfr-24"], times=even(24, 24, Fraction(100)))).path
    with pytest.raises(refilm.VideoError, match=r"no frame at the same time.*0\.000 and 100\.000 s; --from-start"):
        compare(media("cfr-24").path, late, tmp_path / "pictures")
    assert not (tmp_path / "pictures").exists()
    assert compare(media("cfr-24").path, late, from_start=True).identical == 24


def test_other_sizes_are_refused_with_the_way_out(media):
    with pytest.raises(refilm.VideoError, match=r"is 97x55 and .* is 96x64; only equal sizes.*-vf scale=96:64"):
        compare(media("cfr-24").path, media("odd-420").path)


@pytest.mark.parametrize("other", ["yuv444p", "yuv420p10le", "gbrp"])
def test_other_formats_are_compared_as_rgb(tmp_path, other):
    a = write(tmp_path / "a.mkv", replace(CLIPS["gray"], pix_fmt="yuv420p")).path
    b = tmp_path / "b.mkv"
    codec = "utvideo" if other == "gbrp" else "ffv1"
    convert = ["-vf", "scale=flags=accurate_rnd", "-pix_fmt", other, "-c:v", codec]
    tool("ffmpeg", "-v", "error", "-i", str(a), *convert, str(b))
    found = compare(a, b)
    assert found.compared_as == ("gbrp10le" if other.endswith("10le") else "gbrp")
    average = found.psnr_db["average"]
    assert average is None or average > 28  # swscale blurs chroma and clips colours


def test_full_and_limited_range_are_not_compared_code_by_code(tmp_path):
    clip = replace(CLIPS["bt709-tv-8-ffv1"], times=even(3, 24))
    a, b = write(tmp_path / "a.mkv", clip).path, tmp_path / "b.mkv"
    ranges = "scale=in_range=tv:out_range=pc"
    tool("ffmpeg", "-v", "error", "-i", str(a), "-vf", ranges, "-color_range", "pc", "-c:v", "ffv1", str(b))
    found = compare(a, b)
    assert found.compared_as == "gbrp"
    assert max(map(abs, found.level_change.values())) < 2


def test_what_a_viewer_would_notice_beside_the_samples_is_told(media):
    assert compare(media("cfr-24").path, media("rotated").path).warnings == [
        "players turn a by 0 and b by 90 degrees, or mirror one of them"
    ]
    assert compare(media("cfr-24").path, media("anamorphic").path).warnings == [
        "the shape of a pixel is 1 in a and 4/3 in b"
    ]
    found = compare(media("companions").path, media("cfr-24").path)
    assert found.warnings == ["audio streams: 2 in a, 0 in b", "subtitle streams: 1 in a, 0 in b"]
    assert found.a.unmatched == 24


def test_a_truncated_file_is_compared_as_far_as_it_goes_and_told(tmp_path):
    whole = write(tmp_path / "complete.mkv", replace(CLIPS["cfr-24"], suffix=".mkv", times=even(48, 24))).path
    found = compare(whole, BROKEN["truncated-mkv"](tmp_path))
    assert 10 < found.matched < 48
    assert any("before its declared end" in warning for warning in found.warnings)


def test_planes_too_small_for_ssim_have_none(tmp_path):
    a, b = degraded(tmp_path, times=even(2, 24), width=14, height=64, pix_fmt="yuv420p")
    found = compare(a, b)
    assert found.ssim["y"] is not None
    assert found.ssim["u"] is found.ssim["all"] is None


def test_pictures_show_the_course_and_the_worst_frame(tmp_path):
    a, b = degraded(tmp_path, times=even(30, 24), pix_fmt="yuv420p")
    found = compare(a, b, tmp_path / "pictures")
    assert json.loads((tmp_path / "pictures" / "comparison.json").read_text())["worst_time"] == found.worst_time
    curve, strip = (cv2.imread(str(tmp_path / "pictures" / f"{name}.png")) for name in ("curve", "strip"))
    assert curve.shape == (520, 1200, 3)
    # both frames and their difference, in at most six evenly spaced rows and one of the worst, under lines of text
    assert strip.shape[1] == 3 * 96
    rows = (strip.shape[0] - 22) // (64 + 22)
    assert 4 <= rows <= 7
    frame_a, frame_b, difference = (strip[44 : 44 + 64, 96 * k : 96 * (k + 1)].astype(int) for k in range(3))
    assert difference.mean() == pytest.approx(abs(frame_a - frame_b).clip(max=255 / 8).mean() * 8, abs=1)
    assert len((tmp_path / "pictures" / "frames.csv").read_text().splitlines()) == 31


def test_a_folder_with_something_in_it_is_left_alone(media, tmp_path):
    (tmp_path / "diary.txt").write_text("precious")
    with pytest.raises(refilm.JobError, match="not an empty folder; name another"):
        compare(media("cfr-24").path, media("cfr-24").path, tmp_path)


def test_the_command_shows_a_table_or_json(media, capsys):
    paths = [str(media("cfr-24").path), str(media("b-frames").path)]
    assert run(["compare", *paths]) == 0
    assert "24 in both, 0 of them identical" in " ".join(capsys.readouterr().out.split())
    assert run(["compare", *paths, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["matched"] == 24
    assert run(["compare", paths[0], "missing.mp4"]) == 1
    assert "missing.mp4: no such file" in capsys.readouterr().err
