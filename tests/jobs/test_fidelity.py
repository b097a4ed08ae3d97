"""The main job against FFmpeg's own verdict: times, pixels, colour tags, sound and all that lies beside the picture."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import pytest
from media import (
    CLIPS,
    COVER_PNG,
    LOSSLESS,
    MILLISECOND,
    even,
    ffprobe,
    frame_hashes,
    packet_hashes,
    probed_streams,
    probed_tags,
    probed_times,
    tool,
    write,
)

import refilm

TIMES = [
    "cfr-24", "cfr-ntsc", "cfr-ntsc-mkv", "vfr", "vfr-mkv", "vfr-b-frames", "start-late", "start-late-mkv",
    "start-early", "start-early-ts", "b-frames", "b-frames-mkv", "live-mkv", "edit-list", "audio-late-start",
]  # fmt: skip
LOSSLESSLY = {"crf": 0, "preset": "ultrafast"}


def smooth(source, output, **options):
    warnings = []
    report = refilm.interpolate(source, output, model="flow-blend", warn=warnings.append, **options)
    return report, warnings


def expected_times(times, factor):
    return [a + (b - a) * k / factor for a, b in itertools.pairwise(times) for k in range(factor)] + [times[-1]]


@pytest.mark.parametrize("name", TIMES)
def test_times_are_exact_and_originals_keep_their_pixels(media, tmp_path, name):
    source, output = media(name), tmp_path / "out.mp4"
    report, _ = smooth(source.path, output, times=3, **LOSSLESSLY)
    times = probed_times(output)
    # MP4 cannot show what comes before 0, so a source that starts there is shifted as a whole
    shift = max(Fraction(0), -source.times[0])
    assert times == [time + shift for time in expected_times(source.times, 3)]
    assert frame_hashes(output)[::3] == frame_hashes(source.path)
    assert report.frames_in == len(source.times)
    assert report.frames_out == len(times)
    # only a copied sound can be measured against the picture
    assert report.av_drift == (0 if source.clip.audio else None)


@pytest.mark.parametrize("name", ["cfr-24", "vfr", "b-frames", "start-late"])
def test_matroska_gets_the_nearest_times_its_clock_can_say(media, tmp_path, name):
    source, output = media(name), tmp_path / "out.mkv"
    smooth(source.path, output, times=2, **LOSSLESSLY)
    assert probed_times(output) == [
        Fraction(math.floor(1000 * time + Fraction(1, 2)), 1000) for time in expected_times(source.times, 2)
    ]


@pytest.mark.parametrize("name", ["cfr-24", "vfr", "vfr-b-frames", "b-frames", "start-late", "companions"])
@pytest.mark.parametrize("options", [{"times": 4}, {"fps": 60}], ids=["times", "fps"])
def test_the_whole_lasts_as_long_as_before(media, tmp_path, name, options):
    source, output = media(name), tmp_path / "out.mp4"
    report, _ = smooth(source.path, output, **options, **LOSSLESSLY)
    end = source.times[-1] + source.duration - source.times[0]
    entries = ("-select_streams", "v:0", "-show_entries", "stream=duration")
    lasts = Fraction(ffprobe(output, *entries)["streams"][0]["duration"])
    one_frame = Fraction(1, 60) if "fps" in options else MILLISECOND
    assert abs(lasts - end) <= one_frame
    assert abs(report.duration_out - report.duration_in) <= one_frame


def test_24_to_60_frame_by_frame(media, tmp_path):
    source, output = media("cfr-24"), tmp_path / "out.mp4"
    report, _ = smooth(source.path, output, fps=60, **LOSSLESSLY)
    assert probed_times(output) == [Fraction(k, 60) for k in range(60)]
    # every fifth of a twenty-fourth and a sixtieth coincide: output 5 k is source frame 2 k itself
    assert frame_hashes(output)[::5] == frame_hashes(source.path)[::2]
    assert (report.frames_kept, report.frames_left_out) == (12, 12)


@pytest.mark.parametrize("name", LOSSLESS)
def test_colour_passes_unchanged_and_its_tags_too(media, tmp_path, name):
    source = media(name)
    h264 = name.endswith("8-h264")  # x264 is lossless at crf 0 in 8 bit only
    output = tmp_path / ("out.mp4" if h264 else "out.mkv")
    smooth(source.path, output, times=1, **(LOSSLESSLY if h264 else {"codec": "ffv1"}))
    assert frame_hashes(output) == frame_hashes(source.path)
    assert probed_tags(output) == source.clip.tags.ffprobe() == probed_tags(source.path)


def test_an_untagged_file_stays_untagged(media, tmp_path):
    smooth(media("untagged").path, tmp_path / "out.mp4", times=2)
    assert probed_tags(tmp_path / "out.mp4") == {}


def test_new_frames_of_a_still_scene_have_the_colours_of_the_old_ones(tmp_path):
    """The flicker that users of other tools see: original and new frames taking different ways through colour."""
    from media import BT2020, Clip, write

    for tags, pix_fmt in ((BT2020, "yuv420p10le"), (CLIPS["cfr-24"].tags, "yuv420p")):
        clip = Clip(".mkv", times=tuple(Fraction(k, 24) for k in range(6)), codec="ffv1", pix_fmt=pix_fmt, tags=tags)
        path = write(tmp_path / "moving.mkv", clip).path
        still = tmp_path / "still.mkv"
        _repeat_first_frame(path, still)
        smooth(still, tmp_path / "out.mkv", times=2, codec="ffv1", overwrite=True)
        assert len(set(frame_hashes(tmp_path / "out.mkv"))) == 1
        still.unlink()


def _repeat_first_frame(source, target):
    import av

    with av.open(str(source)) as original, av.open(str(target), "w") as output:
        first = next(original.decode(video=0))
        stream = output.add_stream("ffv1", rate=24, pix_fmt=first.format.name, width=first.width, height=first.height)
        stream.codec_context.colorspace = first.colorspace
        for number in range(4):
            first.pts, first.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(first))
        output.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["companions", "companions-mkv"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_is_carried_over_bit_by_bit(media, tmp_path, name, suffix):
    source, output = media(name), tmp_path / f"out{suffix}"
    smooth(source.path, output, times=2, drop_streams=True)  # MP4 has no place for the font
    for track in ("a:0", "a:1"):
        before, after = packet_hashes(source.path, track), packet_hashes(output, track)
        assert [payload for _, payload in after] == [payload for _, payload in before]
        # Matroska shifts the whole file so that nothing is before zero; sound and picture shift together
        shift = probed_times(output)[0] - source.times[0]
        for (was, _), (now, _) in zip(before, after, strict=True):
            assert abs(now - was - shift) <= MILLISECOND


def test_subtitles_chapters_attachments_and_metadata_survive(media, tmp_path):
    source, output = media("companions-mkv"), tmp_path / "out.mkv"
    _, warnings = smooth(source.path, output, times=2)
    assert warnings == []
    assert sorted(probed_streams(output)) == sorted(probed_streams(source.path))
    shown = ("-show_chapters", "-show_entries", "chapter_tags=title")
    assert [c["tags"]["title"] for c in ffprobe(output, *shown)["chapters"]] == [t for _, _, t in source.clip.chapters]
    tags = {key.lower(): value for key, value in ffprobe(output, "-show_format")["format"]["tags"].items()}
    for key, value in source.clip.metadata.items():
        assert tags[key] == value
    assert [h for _, h in packet_hashes(output, "s:0")] == [h for _, h in packet_hashes(source.path, "s:0")]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_rotation_and_pixel_shape_survive(media, tmp_path, suffix):
    rotated, wide = tmp_path / f"rotated{suffix}", tmp_path / f"wide{suffix}"
    smooth(media("rotated").path, rotated, times=2)
    smooth(media("anamorphic").path, wide, times=2)
    shown = ("-select_streams", "v:0", "-show_streams")

    def rotation(path):
        return [side.get("rotation") for side in ffprobe(path, *shown)["streams"][0]["side_data_list"]]

    assert rotation(rotated) == rotation(media("rotated").path)
    assert ffprobe(wide, *shown)["streams"][0]["sample_aspect_ratio"] == "4:3"


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "ffv1"), ("a.mkv", "prores_ks"), ("a.webm", "libvpx-vp9"), ("a.mov", "prores_ks")]
)
def test_shape_turn_and_colour_survive_in_codecs_that_do_not_say_them(media, tmp_path, name, codec):
    """The container then has to."""
    source, output = media("anamorphic-turned").path, tmp_path / name
    smooth(source, output, times=2, codec=codec)
    one, two = refilm.probe(source), refilm.probe(output)
    for field in ("sample_aspect_ratio", "rotation"):
        assert getattr(one, field) == getattr(two, field), field
    names = ("matrix", "primaries", "transfer")
    assert [getattr(one.tags, name) for name in names] == [getattr(two.tags, name) for name in names]


def test_a_container_that_cannot_turn_pictures_is_told_of(media, tmp_path):
    _, warnings = smooth(media("rotated").path, tmp_path / "out.ts", times=2)
    assert any("mpegts cannot say how pictures are turned" in words for words in warnings)


def test_odd_sizes_keep_every_pixel(media, tmp_path):
    smooth(media("odd-444").path, tmp_path / "out.mp4", times=2, **LOSSLESSLY)
    assert frame_hashes(tmp_path / "out.mp4")[::2] == frame_hashes(media("odd-444").path)
    smooth(media("odd-420").path, tmp_path / "out.mkv", times=2, codec="ffv1")
    assert frame_hashes(tmp_path / "out.mkv")[::2] == frame_hashes(media("odd-420").path)


def test_odd_sizes_that_the_encoder_cannot_take_are_refused_with_the_way_out(media, tmp_path):
    with pytest.raises(refilm.VideoError, match=r"odd width 97.*--pix-fmt yuv444p"):
        smooth(media("odd-420").path, tmp_path / "out.mp4", times=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["rgb", "rgb-10", "gray"])
def test_rgb_and_gray_sources_keep_their_samples_in_a_codec_that_takes_them(media, tmp_path, name):
    smooth(media(name).path, tmp_path / "out.mkv", times=2, codec="ffv1")
    pix_fmt = CLIPS[name].pix_fmt
    assert frame_hashes(tmp_path / "out.mkv", pix_fmt)[::2] == frame_hashes(media(name).path, pix_fmt)


def test_no_output_frame_mixes_two_scenes(media, tmp_path):
    source, output = media("two-scenes"), tmp_path / "out.mkv"
    report, _ = smooth(source.path, output, times=4, codec="ffv1")
    before, after = frame_hashes(source.path), frame_hashes(output)
    cut = source.clip.scenes[0]
    around = after[4 * (cut - 1) : 4 * cut + 1]
    assert around == [before[cut - 1]] * 2 + [before[cut]] * 3
    assert report.frames_repeated == 3


def test_picture_sequences_in_and_out(media, tmp_path):
    pictures, output = tmp_path / "pictures" / "%04d.png", tmp_path / "out.mp4"
    smooth(media("cfr-24").path, pictures, times=1)
    assert len(list(pictures.parent.iterdir())) == 24
    smooth(pictures, output, times=2, input_fps=24)
    assert probed_times(output) == [Fraction(k, 48) for k in range(47)]


@pytest.mark.parametrize("frames", [10, 11, 12])
def test_b_frames_of_the_encoder_do_not_shorten_the_track(tmp_path, frames):
    source = write(tmp_path / "in.mp4", replace(CLIPS["cfr-24"], times=even(frames, 10), last=Fraction(1, 10)))
    smooth(source.path, tmp_path / "out.mp4", times=8, preset="medium")
    shown = ("-select_streams", "v:0", "-show_entries", "stream=duration")
    lasts = Fraction(ffprobe(tmp_path / "out.mp4", *shown)["streams"][0]["duration"])
    assert abs(lasts - Fraction(frames, 10)) <= MILLISECOND


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cover_picture_survives(media, tmp_path, suffix):
    (tmp_path / "cover.png").write_bytes(COVER_PNG)
    source = tmp_path / "in.mp4"
    arguments = ["-i", str(media("cfr-24").path), "-i", str(tmp_path / "cover.png"), "-map", "0", "-map", "1"]
    tool("ffmpeg", "-v", "error", *arguments, "-c", "copy", "-disposition:v:1", "attached_pic", str(source))
    smooth(source, tmp_path / f"out{suffix}", times=2)
    assert ("video", "png", None) in probed_streams(tmp_path / f"out{suffix}")
