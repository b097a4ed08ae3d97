"""What `--audio` and `--subtitles` make of a source's streams, as FFmpeg's programs see it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from media import ffprobe, flashes_and_beeps, lateness, packet_hashes, tool

import refilm
from refilm.cli.main import run
from refilm.errors import UsageError

H264 = ("-c:v", "libx264", "-preset", "veryfast")
# FFmpeg's names of the channels of 5.1 sound
SURROUND = ("FL", "FR", "FC", "LFE", "SL", "SR")


def smooth(source, output, **options):
    warnings = []
    chosen = {"times": 1, "model": "flow-blend", "preset": "ultrafast", "crf": 0} | options
    report = refilm.interpolate(source, output, warn=warnings.append, **chosen)
    assert report.warnings == warnings
    return warnings


def sounds(path):
    """(codec, rate, layout, language) of each sound."""
    entries = "stream=codec_name,sample_rate,channel_layout:stream_tags=language"
    found = ffprobe(path, "-select_streams", "a", "-show_entries", entries)["streams"]
    keys = ("codec_name", "sample_rate", "channel_layout")
    return [(*(each.get(key) for key in keys), each.get("tags", {}).get("language")) for each in found]


def surround(path, channel):
    """A film of a second with 5.1 sound in AC-3, whose surrounds are at the sides. Only one channel has a tone."""
    tones = "|".join("sin(2*PI*80*t)/2" if name == channel else "0" for name in SURROUND)
    tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=s=96x64:r=25:d=1", "-f", "lavfi",
         "-i", f"aevalsrc='{tones}':c=5.1(side):d=1:s=48000", *H264, "-c:a", "ac3", str(path))  # fmt: skip
    return path


def loud(path):
    """The numbers of the channels that are not silent."""
    command = ("ffmpeg", "-nostats", "-i", str(path), "-map", "0:a", "-af", "astats=measure_overall=none", "-f", "null")
    told = subprocess.run([*command, "-"], capture_output=True, text=True, check=True).stderr
    levels = re.findall(r"RMS level dB: (\S+)", told)
    return [number for number, level in enumerate(levels) if float(level) > -30]


@pytest.mark.parametrize("original", ["aac", "mp2"])
@pytest.mark.parametrize(
    ("audio", "target", "codec"),
    [
        ("aac", ".mp4", "aac"),
        ("aac", ".ts", "aac"),
        ("opus", ".mkv", "opus"),
        ("opus", ".mp4", "opus"),
        ("flac", ".mkv", "flac"),
        ("flac", ".mp4", "flac"),
        ("pcm", ".mov", "pcm_s24le"),
    ],
)
def test_sound_in_another_codec_stays_with_the_picture(tmp_path, original, audio, target, codec):
    source = flashes_and_beeps(tmp_path / "in.mp4", 2, *H264, "-bf", "2", "-c:a", original)
    output = tmp_path / f"out{target}"
    warnings = smooth(source, output, audio=audio)
    assert [sound[0] for sound in sounds(output)] == [codec]
    assert lateness(output) == pytest.approx(lateness(source), abs=0.003)
    is_in_it = audio == original
    told = [warning for warning in warnings if "converted" in warning]
    assert [f"converted to {codec}, as --audio {audio} asks" in warning for warning in told] == [True] * (not is_in_it)
    if is_in_it and target == ".mp4":  # a transport stream gives each packet a head of its own
        assert [data for _, data in packet_hashes(output, "a:0")] == [data for _, data in packet_hashes(source, "a:0")]


def test_the_sound_of_a_part_stays_with_the_picture_in_another_codec(tmp_path):
    source = flashes_and_beeps(tmp_path / "in.mp4", 3, *H264, "-c:a", "aac")
    smooth(source, tmp_path / "out.mp4", audio="opus", from_time=1.2)
    assert lateness(tmp_path / "out.mp4") == pytest.approx(lateness(source)[1:], abs=0.003)


@pytest.mark.parametrize("channel", ["FC", "LFE", "SL"])
@pytest.mark.parametrize("audio", ["aac", "opus", "flac"])
def test_each_channel_of_surround_sound_stays_in_its_place(tmp_path, audio, channel):
    source = surround(tmp_path / "in.mkv", channel)
    smooth(source, tmp_path / "out.mkv", audio=audio)
    ((codec, _, layout, _),) = sounds(tmp_path / "out.mkv")
    assert codec == audio
    # what all players know: AAC and Opus have one 5.1, whose surrounds FFmpeg calls those at the back
    assert layout == ("5.1(side)" if audio == "flac" else "5.1")
    assert loud(tmp_path / "out.mkv") == [SURROUND.index(channel)]


@pytest.mark.parametrize(("rate", "written"), [(44100, "48000"), (22050, "48000"), (96000, "48000")])
def test_rates_that_opus_does_not_have_become_one_that_it_has(tmp_path, rate, written):
    source = flashes_and_beeps(tmp_path / "in.mkv", 2, *H264, "-c:a", "flac", "-ar", str(rate))
    smooth(source, tmp_path / "out.mkv", audio="opus")
    assert [sound[:2] for sound in sounds(tmp_path / "out.mkv")] == [("opus", written)]
    assert lateness(tmp_path / "out.mkv") == pytest.approx(lateness(source), abs=0.003)


def test_pcm_has_no_more_bits_than_the_source_needs(tmp_path):
    source = flashes_and_beeps(tmp_path / "in.mkv", 1, *H264, "-c:a", "flac", "-sample_fmt", "s16")
    smooth(source, tmp_path / "out.mov", audio="pcm")
    assert [sound[0] for sound in sounds(tmp_path / "out.mov")] == ["pcm_s16le"]
    hashes = [
        tool("ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a", "-c:a", "pcm_s16le", "-f", "md5", "-")
        for path in (source, tmp_path / "out.mov")
    ]
    assert hashes[0] == hashes[1]


def test_every_track_is_converted_and_keeps_its_language(media, tmp_path):
    warnings = smooth(media("companions").path, tmp_path / "out.mp4", audio="opus")
    assert [(sound[0], sound[3]) for sound in sounds(tmp_path / "out.mp4")] == [("opus", "eng"), ("opus", "deu")]
    assert sum("is converted to opus, as --audio opus asks" in warning for warning in warnings) == 2


def test_none_leaves_out_and_the_report_says_so(media, tmp_path):
    warnings = smooth(media("companions").path, tmp_path / "out.mp4", audio="none", subtitles="none")
    found = ffprobe(tmp_path / "out.mp4", "-show_entries", "stream=codec_type")["streams"]
    assert [each["codec_type"] for each in found][:1] == ["video"]
    assert not {"audio", "subtitle"} & {each["codec_type"] for each in found}
    assert ["--audio none asks" in warning for warning in warnings].count(True) == 2
    assert ["--subtitles none asks" in warning for warning in warnings].count(True) == 1


@pytest.mark.parametrize(("audio", "target"), [("aac", ".webm"), ("flac", ".mov"), ("pcm", ".webm")])
def test_a_codec_that_the_container_cannot_hold_is_refused_before_the_work(media, tmp_path, audio, target):
    wanted = rf"cannot hold stream 1 audio .* as \w+, which --audio {audio} asks for.*\.mkv, which can; or another"
    options = {"audio": audio, "subtitles": "none", "preset": None, "crf": None}
    with pytest.raises(refilm.VideoError, match=wanted):
        smooth(media("companions").path, tmp_path / f"out{target}", **options)
    # sound that could be copied is not dropped for it
    with pytest.raises(refilm.VideoError, match=wanted):
        smooth(media("companions").path, tmp_path / f"out{target}", drop_streams=True, **options)
    assert list(tmp_path.iterdir()) == []


def test_contradictions_and_unknown_values_are_refused(media, tmp_path, capsys):
    arguments = ["interpolate", str(media("cfr-24").path), str(tmp_path / "out.mp4"), "--model", "flow-blend"]
    assert run([*arguments, "--copy-only", "--audio", "aac"]) == 2
    assert "--copy-only refuses to convert sound, and --audio aac asks for it" in capsys.readouterr().err
    for flag in ("--audio", "--subtitles", "--for"):
        assert run([*arguments, flag, "loud"]) == 2
        assert "copy" in (told := capsys.readouterr().err) or "browser" in told
    with pytest.raises(UsageError, match="--audio is one of copy, aac, opus, flac, pcm, none; got mp3"):
        refilm.interpolate(media("cfr-24").path, tmp_path / "out.mp4", audio="mp3")
    assert list(tmp_path.iterdir()) == []


def test_copy_only_wins_over_the_sound_of_a_purpose(tmp_path):
    source = flashes_and_beeps(tmp_path / "in.mkv", 1, *H264, "-c:a", "flac")
    warnings = smooth(source, tmp_path / "out.mp4", purpose="browser", copy_only=True)
    assert not any("converted" in warning for warning in warnings)
    assert [sound[0] for sound in sounds(tmp_path / "out.mp4")] == ["flac"]


def test_a_finished_film_with_other_sound_is_not_taken_for_this_one(media, tmp_path):
    source, output = media("companions").path, tmp_path / "out.mp4"
    smooth(source, output)
    smooth(source, output, audio="opus", leave_finished=True, overwrite=True)
    assert {sound[0] for sound in sounds(output)} == {"opus"}


def test_sound_that_is_not_wanted_does_not_stop_a_pipe(media, tmp_path):
    source = media("companions-mkv").path
    command = "import sys; from refilm.cli.main import run; sys.exit(run(sys.argv[1:]))"
    arguments = ["interpolate", "-", str(tmp_path / "out.mp4"), "--model", "flow-blend", "--audio", "none"]
    with source.open("rb") as film:
        done = subprocess.run(
            [sys.executable, "-c", command, *arguments], stdin=film, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "subtitle" in done.stderr
    assert "audio" not in done.stderr
