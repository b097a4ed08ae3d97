"""What a container holds of sound, subtitles, chapters and attachments: copied, converted, or a decision of the user's.

The files are made here, with one difficult stream each; FFmpeg's programs judge what becomes of it.
"""

from __future__ import annotations

import re
import subprocess
import wave
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from media import CLIPS, COVER_PNG, Clip, even, ffprobe, frame_hashes, packet_hashes, probed_streams, tool, write

import refilm
from refilm.video.companions import Companion, StreamPolicy, tell_fates
from refilm.video.video_info import StreamInfo

RATE = 48000
# Seconds at which the sound of the test files has a beep; it is silent elsewhere.
BEEPS = (0.5, 1.5)
TEXT = ((0.25, 0.75, "First line"), (1.0, 1.5, "Second, with é and 字"))


def with_sound(folder, suffix, codec, chosen="1"):
    """A film of two seconds whose sound, in the given codec, beeps at BEEPS. `chosen`: FFmpeg's aselect expression."""
    plain = _picture(folder)
    samples = np.arange(2 * RATE) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 1000 * samples) * sum((samples >= t) & (samples < t + 0.1) for t in BEEPS)
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes((32767 * tone).astype("<i2").tobytes())
    path = folder / f"film{suffix}"
    tool("ffmpeg", "-v", "error", "-i", str(plain), "-i", str(folder / "sound.wav"), "-map", "0", "-map", "1",
         "-c:v", "copy", "-af", f"asetnsamples=960,aselect={chosen}", "-c:a", codec, "-strict", "-2",
         str(path))  # fmt: skip
    (folder / "sound.wav").unlink()
    plain.unlink()
    return path


def with_subtitles(folder, suffix, codec):
    """A film of two seconds with subtitles. Those made of pictures show nothing; muxers hardly look into them."""
    plain, path = _picture(folder), folder / f"film{suffix}"
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        picture = output.add_stream_from_template(source.streams.video[0])
        stream = output.add_mux_stream(codec)
        stream.time_base = Fraction(1, 1000)
        stream.metadata["language"] = "ger"
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets:
            packet.stream = picture
        for start, end, text in TEXT:
            packet = av.Packet(_subtitle(codec, text))
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
            packet.pts = packet.dts = int(1000 * start)
            packet.duration = int(1000 * (end - start))
            packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    plain.unlink()
    return path


def _subtitle(codec, text):
    if codec == "mov_text":
        return len(text.encode()).to_bytes(2, "big") + text.encode()
    if codec == "hdmv_pgs_subtitle":  # a composition without objects, and the end of the display set
        return bytes.fromhex("16 000b 0060 0040 10 0001 80 00 00 00 80 0000")
    return text.encode()


def _picture(folder):
    return write(folder / "plain.mkv", Clip(".mkv", times=even(48, 24), codec="mpeg4")).path


def smooth(source, output, **options):
    warnings = []
    refilm.interpolate(source, output, model="flow-blend", warn=warnings.append, **options)
    return warnings


def codecs(path):
    return [codec for kind, codec, _ in probed_streams(path) if kind != "video"]


def beeps(path):
    """When the beeps begin against the first picture, in seconds, by the programs' account."""
    command = ("-v", "info", "-nostats", "-i", str(path), "-map", "0:a", "-af", "silencedetect=n=-40dB:d=0.2")
    begin = re.findall(r"silence_end: ([0-9.]+)", _stderr("ffmpeg", *command, "-f", "null", "-"))
    shown = ffprobe(
        path, "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time:format=start_time"
    )
    # the program counts from the beginning of the file, whichever stream that is of
    first = float(shown["frames"][0]["best_effort_timestamp_time"]) - float(shown["format"]["start_time"])
    return [float(time) - first for time in begin if float(time) < 1.95]


def _stderr(*command):
    tool("ffmpeg", "-version")  # skips the test where FFmpeg is missing
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def payload(path):
    """A hash of all packets of the sound, however they are cut."""
    return tool("ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a", "-c", "copy", "-f", "md5", "-")


def lines(path):
    """The text subtitles as SubRip says them: (begin, end, text)."""
    return re.findall(
        r"00:00:(\S+) --> 00:00:(\S+)\n(.+)\n", tool("ffmpeg", "-v", "error", "-i", str(path), "-f", "srt", "-")
    )


SPOKEN = [("00,250", "00,750", TEXT[0][2]), ("01,000", "01,500", TEXT[1][2])]


@pytest.mark.parametrize(
    ("sound", "source", "target"),
    [
        ("dca", ".mkv", ".mkv"),
        ("ac3", ".mkv", ".ts"),
        ("pcm_alaw", ".mkv", ".mov"),
        ("pcm_s16le", ".mov", ".mp4"),
        ("flac", ".mkv", ".mp4"),
        ("libmp3lame", ".mkv", ".m2ts"),
    ],
)
def test_sound_is_copied_wherever_the_muxer_takes_it(tmp_path, sound, source, target):
    film = with_sound(tmp_path, source, sound)
    output = tmp_path / f"out{target}"
    assert smooth(film, output) == []
    assert codecs(output) == codecs(film)
    assert payload(output) == payload(film)
    assert beeps(output) == pytest.approx(beeps(film), abs=0.003)


@pytest.mark.parametrize(
    ("sound", "source", "target", "codec"),
    [
        ("pcm_alaw", ".mkv", ".mkv", "flac"),
        ("wmav2", ".avi", ".mkv", "flac"),
        ("pcm_mulaw", ".mkv", ".mp4", "aac"),
        ("pcm_s16le", ".mkv", ".ts", "aac"),
        ("pcm_alaw", ".mkv", ".webm", "opus"),
    ],
)
def test_sound_that_cannot_be_copied_is_encoded_again_in_step_with_the_picture(tmp_path, sound, source, target, codec):
    film, output = with_sound(tmp_path, source, sound), tmp_path / f"out{target}"
    warnings = smooth(film, output)
    assert any(f"converted to {codec}" in warning for warning in warnings)
    assert codecs(output) == [codec]
    assert beeps(output) == pytest.approx(beeps(film), abs=0.005)


def test_sound_in_a_lossless_codec_keeps_every_decoded_sample(tmp_path):
    film, output = with_sound(tmp_path, ".mov", "pcm_alaw"), tmp_path / "out.mkv"
    smooth(film, output)

    def samples(path):
        return tool("ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a", "-c:a", "pcm_s16le", "-f", "md5", "-")

    assert samples(output) == samples(film)


def test_a_hole_in_the_sound_becomes_silence_and_moves_nothing(tmp_path):
    film = with_sound(tmp_path, ".mkv", "pcm_alaw", "not(between(t\\,0.8\\,1.3))")
    output = tmp_path / "out.mp4"
    smooth(film, output)
    assert beeps(output) == pytest.approx(BEEPS, abs=0.005)


@pytest.mark.parametrize("subtitles", ["hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"])
def test_subtitles_made_of_pictures_are_copied_into_matroska(tmp_path, subtitles):
    film, output = with_subtitles(tmp_path, ".mkv", subtitles), tmp_path / "out.mkv"
    assert smooth(film, output) == []
    assert packet_hashes(output, "s:0") == packet_hashes(film, "s:0")
    assert ("subtitle", subtitles, "ger") in probed_streams(output)


@pytest.mark.parametrize(
    ("subtitles", "source", "target", "codec"),
    [
        ("mov_text", ".mp4", ".mkv", "subrip"),
        ("mov_text", ".mp4", ".mov", "mov_text"),
        ("subrip", ".mkv", ".mp4", "mov_text"),
        ("subrip", ".mkv", ".webm", "webvtt"),
        ("subrip", ".mkv", ".mkv", "subrip"),
    ],
)
def test_text_subtitles_are_converted_to_what_the_container_holds(tmp_path, subtitles, source, target, codec):
    film, output = with_subtitles(tmp_path, source, subtitles), tmp_path / f"out{target}"
    warnings = smooth(film, output)
    assert any(f"converted to {codec}" in warning for warning in warnings) == (codec != subtitles)
    assert ("subtitle", codec, "ger") in probed_streams(output)
    assert lines(output) == SPOKEN


def test_styled_subtitles_keep_their_italics_in_mp4(tmp_path):
    (tmp_path / "lines.srt").write_text("1\n00:00:00,250 --> 00:00:00,750\n<i>Leaning</i> text\n")
    film, output = tmp_path / "film.mkv", tmp_path / "out.mp4"
    tool("ffmpeg", "-v", "error", "-i", str(_picture(tmp_path)), "-i", str(tmp_path / "lines.srt"),
         "-map", "0", "-map", "1", "-c", "copy", "-c:s", "ass", str(film))  # fmt: skip
    smooth(film, output)
    assert lines(output) == [("00,250", "00,750", "<i>Leaning</i> text")]


def test_copy_only_refuses_to_convert(tmp_path):
    film = with_sound(tmp_path, ".mkv", "pcm_s16le")
    with pytest.raises(refilm.VideoError, match=r"mpegts cannot hold .*pcm_s16le as it is.*\.mkv, which can"):
        smooth(film, tmp_path / "out.ts", copy_only=True)
    assert list(tmp_path.iterdir()) == [film]


@pytest.mark.parametrize("target", [".mp4", ".webm", ".ts"])
def test_what_would_be_lost_stops_the_job_before_the_work(tmp_path, target):
    film, output = with_subtitles(tmp_path, ".mkv", "hdmv_pgs_subtitle"), tmp_path / f"out{target}"
    with pytest.raises(refilm.VideoError, match=r"cannot hold stream 1 subtitle \w+ ger.*\.mkv, which can.*--drop-st"):
        smooth(film, output)
    assert list(tmp_path.iterdir()) == [film]
    warnings = smooth(film, output, drop_streams=True)
    assert any("stream 1 subtitle" in warning and "left out" in warning for warning in warnings)
    assert codecs(output) == []


def test_sound_in_a_codec_that_nobody_knows_stops_the_job(tmp_path):
    film = with_sound(tmp_path, ".mov", "pcm_alaw")
    film.write_bytes(film.read_bytes().replace(b"alaw", b"zzzz"))
    with pytest.raises(refilm.VideoError, match=r"cannot hold stream 1 audio.*--drop-streams"):
        smooth(film, tmp_path / "out.mkv")
    assert list(tmp_path.iterdir()) == [film]


def test_chapters_and_attachments_are_not_lost_without_consent(media, tmp_path):
    source = media("companions-mkv").path
    for target, lost in (("out.ts", "2 chapters"), ("out.mp4", "attachment unknown")):
        with pytest.raises(refilm.VideoError, match=lost):
            smooth(source, tmp_path / target)
        warnings = smooth(source, tmp_path / target, drop_streams=True)
        assert any(lost in warning and "left out" in warning for warning in warnings)
        assert codecs(tmp_path / target)[:2] == ["aac", "aac"]


def test_advice_never_names_the_container_in_use(media):
    lost = Companion(StreamInfo(1, "subtitle", "dvb_teletext"), "lost")
    with pytest.raises(refilm.VideoError, match="cannot hold stream 1") as raised:
        tell_fates([lost], refilm.probe(media("cfr-24").path), "matroska", StreamPolicy(), lambda _: None)
    assert ".mkv" not in str(raised.value)
    assert "--drop-streams" in str(raised.value)


@pytest.mark.parametrize("target", [".ts", ".m2ts"])
def test_a_transport_stream_can_be_written(media, tmp_path, target):
    source, output = media("b-frames"), tmp_path / f"out{target}"
    assert smooth(source.path, output, times=1, crf=0, preset="ultrafast") == []
    assert frame_hashes(output) == frame_hashes(source.path)
    shown = ffprobe(output, "-select_streams", "v:0", "-show_entries", "frame=pts")["frames"]
    steps = {int(second["pts"]) - int(first["pts"]) for first, second in pairwise(shown)}
    assert steps == {90000 // 24}
    with pytest.raises(refilm.VideoError, match="mpegts cannot hold libvpx-vp9"):
        smooth(source.path, tmp_path / f"other{target}", codec="libvpx-vp9")


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv", ".webm", ".nut"])
def test_chapters_keep_their_titles_and_ends(tmp_path, target):
    half = Fraction(1, 2)
    parts = ((0 * half, half, ""), (half, 2 * half, "Named"), (2 * half, 3 * half, ""))
    film = write(
        tmp_path / "film.mkv", replace(CLIPS["cfr-24"], suffix=".mkv", times=even(48, 24), chapters=parts)
    ).path
    smooth(film, tmp_path / f"out{target}")
    found = ffprobe(tmp_path / f"out{target}", "-show_chapters")["chapters"]
    told = [(float(c["start_time"]), float(c["end_time"]), c.get("tags", {}).get("title", "")) for c in found]
    assert told == [(0, 0.5, ""), (0.5, 1, "Named"), (1, 1.5, "")]


def test_a_cover_picture_goes_where_there_is_a_place_for_it(tmp_path):
    cover = (("cover.png", "image/png", COVER_PNG),)
    film = write(tmp_path / "film.mkv", replace(CLIPS["cfr-24"], suffix=".mkv", attachments=cover)).path
    for target in (".mkv", ".mp4"):
        assert smooth(film, tmp_path / f"out{target}") == []
        assert ("video", "png", None) in probed_streams(tmp_path / f"out{target}")


@pytest.mark.parametrize(
    ("pix_fmt", "target", "codec", "expected", "told"),
    [
        ("yuv420p10le", ".webm", None, ("av1", "yuv420p10le"), None),
        ("yuv444p", ".webm", None, ("vp9", "yuv444p"), None),
        ("yuv420p12le", ".webm", None, ("av1", "yuv420p10le"), r"10 of 12 bits a sample; .*--codec libx265 and \.mkv"),
        ("yuv444p", ".mkv", "libsvtav1", ("av1", "yuv420p"), r"a quarter of the colour resolution; .*--codec libx264$"),
        ("yuv420p10le", ".mkv", "libvpx-vp9", ("vp9", "yuv420p"), r"8 of 10 bits a sample; .*--codec libx264$"),
        ("gbrp", ".mp4", None, ("h264", "yuv420p"), r"a quarter of the colour resolution; .*--pix-fmt yuv444p$"),
    ],
)
def test_the_widest_format_is_taken_and_every_reduction_told(tmp_path, pix_fmt, target, codec, expected, told):
    clip = CLIPS["rgb"] if pix_fmt == "gbrp" else Clip(".mkv", times=even(4, 24), codec="ffv1", pix_fmt=pix_fmt)
    film, output = write(tmp_path / f"film{clip.suffix}", clip).path, tmp_path / f"out{target}"
    warnings = smooth(film, output, codec=codec)
    found = ffprobe(output, "-select_streams", "v:0", "-show_entries", "stream=codec_name,pix_fmt")["streams"][0]
    assert (found["codec_name"], found["pix_fmt"]) == expected
    assert [bool(re.search(told or "never said", warning)) for warning in warnings] == ([True] if told else [])


def time_codes(path):
    """All that ffprobe calls a time code, once each."""
    found = ffprobe(path, "-show_streams", "-show_format")
    tags = [each.get("tags", {}) for each in (*found["streams"], found["format"])]
    return {value for each in tags for key, value in each.items() if key.lower() == "timecode"}


@pytest.mark.parametrize(
    ("suffix", "output", "rate", "label", "times", "expected"),
    [
        (".mov", "out.mov", "24000/1001", "01:02:03:22", 4, "01:02:03:88"),
        (".mov", "out.mkv", "30000/1001", "00:00:59;28", 2, "00:00:59;56"),
        (".mkv", "out.mp4", "25", "10:00:00:05", 2, "10:00:00:10"),
    ],
)
def test_time_code_begins_at_the_same_moment(tmp_path, suffix, output, rate, label, times, expected):
    source = tmp_path / f"in{suffix}"
    picture = f"testsrc2=size=96x64:rate={rate}:duration=0.3"
    tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, "-timecode", label, "-c:v", "libx264", str(source))
    assert smooth(source, tmp_path / output, times=times) == []
    assert time_codes(tmp_path / output) == {expected}


def test_time_code_that_cannot_be_kept_is_left_out_and_told(tmp_path):
    source, picture = tmp_path / "in.mov", "testsrc2=size=96x64:rate=25:duration=0.3"
    label = ("-timecode", "10:00:00:00")
    tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, *label, "-c:v", "libx264", str(source))
    told = smooth(source, tmp_path / "out.mov", times=12)
    assert told == ["the time code of the source, 10:00:00:00, is left out: mov counts at most 255 frames a second"]
    assert time_codes(tmp_path / "out.mov") == set()


def test_what_is_no_time_code_is_not_made_one(tmp_path):
    source, picture = tmp_path / "in.mkv", "testsrc2=size=96x64:rate=25:duration=0.3"
    label = ("-metadata", "timecode=237:117:238;251")
    tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, *label, "-c:v", "libx264", str(source))
    (told,) = smooth(source, tmp_path / "out.mov")
    assert "the time code of the source, 237:117:238;251, is left out" in told
    assert time_codes(tmp_path / "out.mov") == set()


def test_the_data_of_a_camera_is_told_whatever_its_time_code(tmp_path):
    """Sony's track of data, which FFmpeg takes a time code from."""
    source = with_subtitles(tmp_path, ".mp4", "mov_text")
    data = source.read_bytes()
    for old, new in ((b"tx3g", b"rtmd"), (b"sbtl", b"meta")):
        assert old in data
        data = data.replace(old, new)
    source.write_bytes(data)
    assert time_codes(source)
    (told,) = [line for line in smooth(source, tmp_path / "out.mp4") if "stream" in line]
    assert re.match("stream 1 data .*is left out, since mp4 cannot hold it", told)
