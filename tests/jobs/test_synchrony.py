"""Sound and picture stay together, and no frame is lost for its time stamp. FFmpeg's programs judge what is written."""

from __future__ import annotations

import wave
from fractions import Fraction

import av
import pytest
from media import flashes_and_beeps, frame_hashes, lateness, probed_times, tool

import refilm

H264 = ("-c:v", "libx264", "-preset", "veryfast")


def smooth(source, output, **options):
    warnings = []
    chosen = {"times": 1, "model": "flow-blend", "preset": "ultrafast", "crf": 0} | options
    return refilm.interpolate(source, output, warn=warnings.append, **chosen), warnings


def joined(folder, *lengths):
    """Recordings one after the other in one file; `lengths`: (seconds of picture, seconds of sound) of each."""
    for number, (picture, sound) in enumerate(lengths):
        trims = ("-vf", f"trim=end={picture}", "-af", f"atrim=end={sound}")
        flashes_and_beeps(folder / f"{number}.ts", max(picture, sound), *H264, "-bf", "2", "-c:a", "mp2", *trims)
    path = folder / "joined.ts"
    path.write_bytes(b"".join((folder / f"{number}.ts").read_bytes() for number in range(len(lengths))))
    return path


@pytest.mark.parametrize("target", [".mkv", ".ts", ".mp4"])
def test_joined_recordings_keep_sound_and_picture_together(tmp_path, target):
    source, output = joined(tmp_path, (1, 1.4), (1.4, 1), (1, 1.4)), tmp_path / f"out{target}"
    report, warnings = smooth(source, output)
    assert lateness(output) == pytest.approx(3 * lateness(tmp_path / "0.ts"), abs=0.003)
    assert report.frames_in == len(probed_times(output)) == 25 + 35 + 25
    assert "the source's clock jumps 2 times; the parts were put one after the other" in warnings
    # where the sound is encoded again, nothing tells which packet has become which
    assert report.av_drift == (None if target == ".mp4" else pytest.approx(0, abs=0.001))


def test_a_broadcast_that_begins_just_before_its_counter_wraps_loses_nothing(tmp_path):
    begin = 2**33 / 90000 - 0.3
    options = (*H264, "-c:a", "mp2", "-output_ts_offset", f"{begin:.6f}", "-muxdelay", "0", "-muxpreload", "0")
    source = flashes_and_beeps(tmp_path / "in.ts", 2, *options)
    report, _ = smooth(source, tmp_path / "out.mp4")
    assert report.frames_in == len(probed_times(tmp_path / "out.mp4")) == 50
    assert lateness(tmp_path / "out.mp4") == pytest.approx([0, 0], abs=0.003)


def seconds_of_sound(path):
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
    tool("ffmpeg", "-v", "error", "-y", "-i", str(path), "-map", "0:a", "-ac", "1", str(path.with_suffix(".wav")))
    with wave.open(str(path.with_suffix(".wav"))) as file:
        return file.getnframes() / file.getframerate()


@pytest.mark.parametrize("target", [".mkv", ".mp4", ".ts"])
def test_what_an_edit_list_hides_is_not_heard(tmp_path, target):
    whole = flashes_and_beeps(tmp_path / "whole.mp4", 3, *H264, "-c:a", "aac", "-g", "100")
    source, output = tmp_path / "cut.mp4", tmp_path / f"out{target}"
    tool("ffmpeg", "-v", "error", "-ss", "0.72", "-i", str(whole), "-c", "copy", str(source))
    report, _ = smooth(source, output)
    wanted = lateness(source)
    assert len(wanted) == 2  # the first of three is hidden
    assert lateness(output) == pytest.approx(wanted, abs=0.002)
    assert seconds_of_sound(output) == pytest.approx(seconds_of_sound(source), abs=0.022)  # whole packets
    assert report.av_drift == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_with_b_frames_keeps_every_frame_at_even_steps(tmp_path, codec):
    source = flashes_and_beeps(tmp_path / "in.avi", 2, "-c:v", codec, "-bf", "2", "-c:a", "mp2")
    _, warnings = smooth(source, tmp_path / "out.mkv")
    assert probed_times(tmp_path / "out.mkv") == [Fraction(k, 25) for k in range(50)]
    assert frame_hashes(tmp_path / "out.mkv") == frame_hashes(source)
    assert lateness(tmp_path / "out.mkv") == pytest.approx([0.01, 0.01], abs=0.003)  # the delay of mp2
    assert any("their order gave them times" in warning for warning in warnings)


def test_packed_b_frames_are_all_kept(tmp_path):
    """As DivX writes them: a B-frame in the packet of the frame that it refers to, and then an empty packet."""
    plain = flashes_and_beeps(tmp_path / "plain.avi", 1, "-an", "-c:v", "mpeg4", "-bf", "1", "-b_strategy", "0")
    source, output = tmp_path / "in.avi", tmp_path / "out.mkv"
    with av.open(str(plain)) as original, av.open(str(source), "w") as packed:
        video = original.streams.video[0]
        stream = packed.add_stream_from_template(video, opaque=True)
        packets = [bytes(packet) for packet in original.demux(video) if packet.size]
        begin = packets[0].index(b"\0\0\1\xb6")
        packets[0] = packets[0][:begin] + b"\0\0\1\xb2DivX503b1393p" + packets[0][begin:]
        is_b = [packet[packet.index(b"\0\0\1\xb6") + 4] >> 6 == 2 for packet in packets]
        for place in [place for place, each in enumerate(is_b) if each]:
            packets[place - 1 : place + 1] = [packets[place - 1] + packets[place], b"\0\0\1\xb6\x51\x00\x7f"]
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, video.time_base, number == 0
            packet.pts = packet.dts = number
            packed.mux(packet)
    assert sum(is_b) > 5
    smooth(source, output)
    assert probed_times(output) == [Fraction(k, 25) for k in range(25)]
    assert frame_hashes(output) == frame_hashes(plain)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".h264", ("-c:v", "libx264", "-bf", "2")), (".m2v", ("-c:v", "mpeg2video", "-bf", "2")), (".mjpeg", ())],
)
def test_input_fps_decides_where_a_stream_has_no_times(tmp_path, suffix, codec):
    source = flashes_and_beeps(tmp_path / f"in{suffix}", 1, *codec, "-an")
    for rate, output in ((None, "own.mp4"), (60, "asked.mp4"), ("24000/1001", "film.mp4")):
        report, _ = smooth(source, tmp_path / output, input_fps=rate)
        step = 1 / Fraction(25 if rate is None else rate)
        first, *others = probed_times(tmp_path / output)
        assert others == [first + k * step for k in range(1, 25)]
        assert first == 0 or rate is None
        assert report.duration_out == pytest.approx(float(25 * step))
    assert refilm.probe(source, Fraction(60)).frame_rate == 60


def test_the_drift_is_that_of_the_written_file(tmp_path):
    """Sound that is 0.2 s late in what was written is found, whatever the rest says."""
    from refilm.video.drift import DriftMeter

    source = flashes_and_beeps(tmp_path / "in.mp4", 3, *H264, "-bf", "2", "-c:a", "aac")
    output, copied = tmp_path / "out.mkv", ("-map", "0:v", "-map", "1:a", "-c", "copy")
    late = ("-itsoffset", "0.2", "-i", str(source))
    tool("ffmpeg", "-v", "error", "-i", str(source), *late, *copied, str(output))
    with av.open(str(source)) as original:
        meter = DriftMeter(original, 0, 1)
        for packet in original.demux():
            meter.begin(packet)
            if packet.size:
                (meter.note_picture if packet.stream_index == 0 else meter.note_sound)(packet)
    shown = [512 * k for k in range(75)]
    drift = meter.measure(output, 0, shown, Fraction(1, 12800), Fraction(0), lambda: None)
    assert drift == pytest.approx(0.2, abs=0.002)
