"""What `--for` makes, as FFmpeg's programs see it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from typing import get_args

import pytest
from media import CLIPS, Clip, even, ffprobe, frame_hashes, probed, tool, write

import refilm
from refilm.cli.main import run
from refilm.options import ForWhat
from refilm.video.purposes import PURPOSES

ENDINGS = {"browser": ".mp4", "editing": ".mov", "archive": ".mkv", "phone": ".mp4"}


def smooth(source, output, **options):
    warnings = []
    chosen = {"times": 1, "model": "flow-blend"} | options
    refilm.interpolate(source, output, warn=warnings.append, **chosen)
    return warnings


def sounds(path):
    found = ffprobe(path, "-select_streams", "a", "-show_entries", "stream=codec_name")
    return [stream["codec_name"] for stream in found["streams"]]


def boxes(path):
    """The kinds of the boxes of an MP4 file, in their order."""
    data, place, found = path.read_bytes(), 0, []
    while place < len(data):
        found.append(data[place + 4 : place + 8])
        place += int.from_bytes(data[place : place + 4])
    return found


def are_key_frames(path):
    found = ffprobe(path, "-select_streams", "v:0", "-show_entries", "packet=flags")
    return ["K" in packet["flags"] for packet in found["packets"]]


def test_every_purpose_that_can_be_asked_for_is_known():
    assert set(PURPOSES) == set(get_args(ForWhat)) == set(ENDINGS)


@pytest.mark.parametrize("purpose", ["browser", "phone"])
def test_browsers_and_phones_get_what_all_of_them_play(media, tmp_path, purpose):
    output = tmp_path / "out.mp4"
    warnings = smooth(media("bt709-tv-10-hevc").path, output, purpose=purpose)
    video = probed(output).video
    assert (video["codec_name"], video["profile"], video["pix_fmt"]) == ("h264", "High", "yuv420p")
    assert video["codec_tag_string"] == "avc1"
    assert boxes(output).index(b"moov") < boxes(output).index(b"mdat")
    (told,) = (warning for warning in warnings if "keeps 8 of 10 bits a sample" in warning)
    assert "--pix-fmt yuv420p10le" in told


def test_a_film_for_a_browser_has_its_sound_in_aac(media, tmp_path):
    source = write(tmp_path / "in.mkv", replace(CLIPS["companions-mkv"], attachments=(), audio_codec="libopus"))
    warnings = smooth(source.path, tmp_path / "out.mp4", purpose="browser")
    assert sounds(tmp_path / "out.mp4") == ["aac", "aac"]
    assert sum("is converted to aac, as --for browser asks" in warning for warning in warnings) == 2
    smooth(source.path, tmp_path / "kept.mp4", purpose="browser", audio="copy")
    assert sounds(tmp_path / "kept.mp4") == ["opus", "opus"]


@pytest.mark.parametrize(("pix_fmt", "profile"), [("yuv420p", "HQ"), ("yuv422p10le", "HQ"), ("yuv444p10le", "4444")])
def test_editors_get_prores_whose_every_frame_stands_alone(tmp_path, pix_fmt, profile):
    clip = Clip(".mkv", codec="ffv1", pix_fmt=pix_fmt, times=even(6, 24), audio=("eng",))
    output = tmp_path / "out.mov"
    smooth(write(tmp_path / "in.mkv", clip).path, output, purpose="editing")
    video = probed(output).video
    assert (video["codec_name"], video["profile"]) == ("prores", profile)
    assert refilm.probe(output).format.chroma_w == (0 if profile == "4444" else 1)
    assert int(video["bits_per_raw_sample"]) >= 10
    assert are_key_frames(output) == [True] * 6
    assert sounds(output) == ["pcm_s24le"]


def test_dnxhr_for_editors_gets_the_profile_that_fits(tmp_path):
    clip = Clip(".mkv", codec="ffv1", times=even(2, 24), width=640, height=368)
    output = tmp_path / "out.mov"
    smooth(write(tmp_path / "in.mkv", clip).path, output, purpose="editing", codec="dnxhd")
    video = probed(output).video
    assert (video["codec_name"], video["profile"], video["pix_fmt"]) == ("dnxhd", "DNXHR HQ", "yuv422p")


@pytest.mark.parametrize("name", ["bt2020-tv-10-ffv1", "odd-444", "rgb-10", "gray"])
def test_an_archive_keeps_every_sample_and_can_be_checked(media, tmp_path, name):
    source, output = media(name).path, tmp_path / "out.mkv"
    assert smooth(source, output, purpose="archive") == []
    assert probed(output).video["pix_fmt"] == probed(source).video["pix_fmt"]
    assert frame_hashes(output) == frame_hashes(source)
    assert all(are_key_frames(output))
    command = ("ffmpeg", "-v", "debug", "-debug", "pict", "-i", str(output), "-frames:v", "1", "-f", "null", "-")
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    version, slices, checked = re.findall(r"global: ver:(\d)\.\d+.* slices:(\S+) .*ec:(\d)", told)[0]
    assert (version, slices, checked) == ("3", "4x4", "1")


def test_an_archive_keeps_the_sound_packet_by_packet(media, tmp_path):
    source, output = media("companions-mkv").path, tmp_path / "out.mkv"
    assert smooth(source, output, purpose="archive") == []
    hashes = ("-map", "0:a", "-c", "copy", "-f", "streamhash", "-")
    assert tool("ffmpeg", "-v", "error", "-i", str(output), *hashes) == tool(
        "ffmpeg", "-v", "error", "-i", str(source), *hashes
    )


@pytest.mark.parametrize("purpose", ENDINGS)
def test_another_ending_is_refused_with_the_name_to_use(media, tmp_path, capsys, purpose):
    right = tmp_path / f"out{ENDINGS[purpose]}"
    arguments = ["interpolate", str(media("cfr-24").path), "--for", purpose, "--model", "flow-blend"]
    for wrong in (tmp_path / "out.ts", tmp_path / "frames" / "%06d.png"):
        assert run([*arguments, str(wrong)]) == 2
        said = capsys.readouterr().err
        assert f"a film for {purpose} is written as {right.suffix}" in said
    assert run([*arguments, str(tmp_path / "out.nut")]) == 2
    assert f"name {right}" in capsys.readouterr().err
    assert run([*arguments, "-"]) == 2
    assert "leave out --for" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_many_outputs_take_the_ending_of_the_purpose(media, tmp_path, capsys):
    arguments = ["interpolate", str(media("cfr-24").path), "--for", "archive", "--model", "flow-blend"]
    assert run([*arguments, "--output-dir", str(tmp_path), "--suffix", ".mp4"]) == 2
    assert "is written as .mkv" in capsys.readouterr().err
    assert run([*arguments, "--output-dir", str(tmp_path), "--times", "1"]) == 0
    (output,) = tmp_path.glob("*.mkv")
    assert probed(output).video["codec_name"] == "ffv1"


def test_what_the_user_says_wins(media, tmp_path):
    source, output = media("bt709-tv-10-hevc").path, tmp_path / "out.mp4"
    warnings = smooth(source, output, purpose="browser", codec="libx265", pix_fmt="yuv420p10le", crf=30)
    video = probed(output).video
    assert (video["codec_name"], video["pix_fmt"], video["codec_tag_string"]) == ("hevc", "yuv420p10le", "hvc1")
    assert any("not every browser plays libx265 in yuv420p10le" in warning for warning in warnings)


def test_hdr_for_a_browser_stays_hdr_and_is_told(media, tmp_path):
    output = tmp_path / "out.mp4"
    warnings = smooth(media("hlg").path, output, purpose="browser")
    assert probed(output).tags["color_transfer"] == "arib-std-b67"
    assert any("the output stays HDR, with 8 bits a sample" in warning for warning in warnings)


@pytest.mark.parametrize(("width", "height", "is_told"), [(1940, 64, True), (64, 1920, False)])
def test_the_size_of_a_film_for_a_phone_is_not_changed_but_told(tmp_path, width, height, is_told):
    source = write(tmp_path / "in.mkv", Clip(".mkv", times=even(2, 24), width=width, height=height))
    warnings = smooth(source.path, tmp_path / "out.mp4", purpose="phone", preset="ultrafast")
    video = probed(tmp_path / "out.mp4").video
    assert (video["width"], video["height"]) == (width, height)
    assert any("larger than the 1920x1080 that every phone shows" in warning for warning in warnings) is is_told
