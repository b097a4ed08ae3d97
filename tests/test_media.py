"""The test media are what they claim to be, in ffprobe's eyes."""

import shutil
from fractions import Fraction

import numpy as np
import pytest
from media import (
    BROKEN,
    CLIPS,
    LOSSLESS,
    ffprobe,
    frame_hashes,
    on_grid,
    packet_hashes,
    picture,
    probed,
    samples_hash,
    video_frame,
    write,
)

pytestmark = pytest.mark.skipif(
    not (shutil.which("ffprobe") and shutil.which("ffmpeg")), reason="FFmpeg's programs are not installed"
)


@pytest.mark.parametrize("name", CLIPS)
def test_ffprobe_finds_what_was_put_in(media, name):
    file, clip = media(name), CLIPS[name]
    found = probed(file.path)
    assert tuple(found.times) == file.times
    assert tuple(found.streams) == file.streams
    assert found.tags == clip.tags.ffprobe()
    assert (found.video["width"], found.video["height"]) == (clip.width, clip.height)
    # full range shows in the name of 8-bit H.264 and HEVC
    assert found.video["pix_fmt"].replace("yuvj", "yuv") == clip.pix_fmt
    if clip.sample_aspect_ratio != 1:
        ratio = clip.sample_aspect_ratio
        assert found.video["sample_aspect_ratio"] == f"{ratio.numerator}:{ratio.denominator}"


@pytest.mark.parametrize("name", [*LOSSLESS, "odd-444", "odd-420", "gray", "rgb", "rgb-10"])
def test_lossless_files_give_the_pictures_back(media, name):
    file = media(name)
    assert frame_hashes(file.path) == [samples_hash(number, file.clip) for number in range(len(file.times))]


@pytest.mark.parametrize("name", ["cfr-24", "vfr", "vfr-mkv"])
def test_last_frames_keep_their_duration(media, name):
    file = media(name)
    found = ffprobe(file.path, "-select_streams", "v:0", "-show_entries", "packet=duration:stream=time_base")
    assert found["packets"][-1]["duration"] * Fraction(found["streams"][0]["time_base"]) == file.duration


@pytest.mark.parametrize("name", ["vfr", "b-frames", "vfr-b-frames", "one-frame", "edit-list"])
def test_mp4_lasts_until_the_end_of_the_last_frame(media, name):
    file = media(name)
    video = probed(file.path).video
    assert video["duration_ts"] * Fraction(video["time_base"]) == file.times[-1] + file.duration - file.times[0]


def test_b_frames_are_stored_out_of_order(media):
    for name in ("b-frames", "b-frames-mkv", "vfr-b-frames"):
        times = [time for time, _ in packet_hashes(media(name).path, "v:0")]
        assert times != sorted(times)
        assert sorted(times) == list(media(name).times)


def test_the_edit_list_hides_frames_that_are_decoded(media):
    file = media("edit-list")
    stored = packet_hashes(file.path, "v:0")
    assert len(stored) == len(file.clip.times) == 30
    assert len(file.times) == 24
    assert min(time for time, _ in stored) < 0 == file.times[0]


def test_the_live_file_declares_neither_duration_nor_frames(media):
    entries = "stream=nb_frames,duration:format=duration"
    found = ffprobe(media("live-mkv").path, "-show_entries", entries)
    assert "duration" not in found["format"]
    assert not {"nb_frames", "duration"} & set(found["streams"][0])


def test_irregular_times_are_irregular(media):
    gaps = np.diff([float(time) for time in media("vfr").times])
    assert len(set(gaps.round(6))) >= 5
    assert gaps.max() > 10 * gaps.min()


def test_companions_hold_chapters_metadata_and_words(media):
    for name in ("companions", "companions-mkv"):
        file = media(name)
        found = ffprobe(file.path, "-show_chapters", "-show_format")
        chapters = [(Fraction(c["start_time"]), Fraction(c["end_time"]), c["tags"]["title"]) for c in found["chapters"]]
        assert chapters == list(file.clip.chapters)
        tags = {key.lower(): value for key, value in found["format"]["tags"].items()}
        assert file.clip.metadata.items() <= tags.items()
        # MP4 fills the gaps between subtitles with empty ones
        payloads = ffprobe(file.path, "-select_streams", "s:0", "-show_entries", "packet=pts_time,size")["packets"]
        shown = [Fraction(packet["pts_time"]) for packet in payloads if int(packet["size"]) > 2]
        assert shown == [start for start, _, _ in file.clip.subtitles]
        first, second = packet_hashes(file.path, "a:0"), packet_hashes(file.path, "a:1")
        assert len(first) == len(second) > 90
        assert first != second


def test_the_rotated_file_has_a_display_matrix(media):
    streams = ffprobe(media("rotated").path, "-select_streams", "v:0", "-show_entries", "stream_side_data=rotation")
    assert streams["streams"][0]["side_data_list"][0]["rotation"] == 90


def test_the_two_scenes_differ_where_they_join(media):
    clip = media("two-scenes").clip
    (cut,) = clip.scenes
    across, within = (
        np.abs(picture(a, 64, 96, "gray", scene)[0] - picture(b, 64, 96, "gray", other)[0].astype(float)).mean()
        for a, scene, b, other in ((cut - 1, 0, cut, 1), (cut - 1, 0, cut, 0))
    )
    assert across > 3 * within


def test_pictures_know_their_number_and_use_the_range():
    for number in (0, 5, 200):
        luma = picture(number, 64, 96, "yuv420p10le")[0]
        bar = [int(luma[2, 4 * bit + 2] > 512) for bit in range(8)]
        assert sum(value << bit for bit, value in enumerate(bar)) == number
    planes = picture(3, 55, 97, "yuv420p")
    assert [plane.shape for plane in planes] == [(55, 97), (28, 49), (28, 49)]
    assert np.ptp(planes[0]) > 200
    luma = np.frombuffer(video_frame(planes, "yuv420p").planes[0], np.uint8).reshape(55, -1)[:, :97]
    np.testing.assert_array_equal(luma, planes[0])


def test_the_same_clip_gives_the_same_packets(media, tmp_path):
    again = write(tmp_path / "again.mp4", CLIPS["companions"])
    for stream in ("v:0", "a:0", "s:0"):
        assert packet_hashes(again.path, stream) == packet_hashes(media("companions").path, stream)


def test_times_are_rounded_to_the_grid_as_ffmpeg_does():
    tick = Fraction(1, 1000)
    assert on_grid(Fraction(1, 24), tick) == Fraction(42, 1000)
    assert on_grid(Fraction(5, 10000), tick) == tick
    assert on_grid(Fraction(-5, 10000), tick) == -tick
    assert on_grid(Fraction(3, 2), tick) == Fraction(3, 2)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_broken(broken, name):
    path = broken(name)
    assert path.exists()
    assert list(path.parent.glob("whole*")) == []
    if name in ("truncated-mkv", "truncated-mp4"):
        found = ffprobe(path, "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames")
        assert 10 < int(found["streams"][0]["nb_read_frames"]) < 48
    elif name == "audio-only":
        assert [stream["codec_type"] for stream in ffprobe(path, "-show_streams")["streams"]] == ["audio"]
    else:
        with pytest.raises(AssertionError):
            ffprobe(path, "-show_streams")
